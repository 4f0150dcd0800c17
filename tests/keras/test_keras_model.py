"""Models from specs: named, seeded layer by layer, and giving float32 logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras_networks import DIGITS_NETWORK, chain, conv2d, dense

pytestmark = pytest.mark.keras


@pytest.fixture
def build_model():
    import keras

    from mpinas.assembly.keras_model import build_model

    yield build_model
    keras.config.set_dtype_policy("float32")


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 8, 8, 1)).astype(np.float32)


def test_layers_carry_the_names_of_the_spec(build_model):
    model = build_model(DIGITS_NETWORK, seed=0)
    assert [layer.name for layer in model.layers] == [layer.name for layer in DIGITS_NETWORK.layers]


def test_equal_seeds_give_equal_weights_whatever_the_global_state(build_model):
    import keras

    keras.utils.set_random_seed(1)
    one = build_model(DIGITS_NETWORK, seed=7).get_weights()
    keras.utils.set_random_seed(2)
    same = build_model(DIGITS_NETWORK, seed=7).get_weights()
    other = build_model(DIGITS_NETWORK, seed=8).get_weights()
    assert all(np.array_equal(left, right) for left, right in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_equal_layers_of_one_network_start_differently(build_model):
    model = build_model(chain((8, 8, 1), conv2d(1), conv2d(1), conv2d(1)), seed=0)
    kernels = [layer.get_weights()[0] for layer in model.layers[1:]]
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


def test_kernels_start_as_he_says(build_model):
    model = build_model(chain((8, 8, 16), conv2d(64), ("flatten", {}), dense(50)), seed=0)
    for layer, inputs in ((model.layers[1], 9 * 16), (model.layers[3], 64 * 64)):
        kernel = layer.get_weights()[0]
        assert np.std(kernel) == pytest.approx(math.sqrt(2 / inputs), rel=0.05)


def test_the_output_is_logits(build_model):
    model = build_model(DIGITS_NETWORK, seed=0)
    sums = np.asarray(model(images())).sum(axis=1)
    assert not np.allclose(sums, 1.0), "these are probabilities"


def test_dropout_acts_in_training_only(build_model):
    model = build_model(chain((8, 8, 1), ("dropout", {"rate": 0.5}), ("flatten", {})), seed=0)
    flat = images().reshape(4, -1)
    assert np.array_equal(model(images(), training=False), flat)
    share = np.mean(np.asarray(model(images(), training=True)) == 0.0)
    assert 0.3 < share < 0.7


def test_batch_norm_knows_its_data_after_thirty_steps(build_model):
    model = build_model(chain((8, 8, 1), ("batch_norm", {}), ("flatten", {})), seed=0)
    shifted = images(64) + 3.0
    for _ in range(30):
        model(shifted, training=True)
    assert abs(float(np.mean(model(shifted, training=False)))) < 0.2


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(build_model, precision):
    import keras

    keras.config.set_dtype_policy(precision)
    model = build_model(DIGITS_NETWORK, seed=0)
    assert model.layers[1].compute_dtype == precision.removeprefix("mixed_")
    assert model.layers[-1].compute_dtype == "float32"
    assert model.output.dtype == "float32"
    assert model(images()).dtype.name == "float32"


def test_a_map_of_one_pixel_takes_the_units_as_channels(build_model):
    model = build_model(chain((2, 2, 1), ("flatten", {}), ("to_map", {})), seed=0)
    output = np.asarray(model(np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)))
    assert output.shape == (1, 1, 1, 4)
    assert output.reshape(-1).tolist() == [0.0, 1.0, 2.0, 3.0]
