"""What a few steps of regularised training do to planted channels."""

from __future__ import annotations

import keras
import numpy as np
from shrink_models import fit, images, labels, regularized, shrinking
from shrink_networks import conv_block, dense, layer, network_of

from mpinas.morphnet.optimizer import with_scale_rate

SHAPE = (6, 6, 2)


def planted(seed, **settings):
    """Channels 0..3 of ``a`` read the signal, 4..7 noise; only scales and the head learn."""
    network = network_of(
        SHAPE,
        *conv_block("a", "image", 8, 1),
        layer("pool", "global_average_pool", "a_relu"),
        dense("logits", "pool", 3),
    )
    one = shrinking(network, seed=seed, **settings)
    kernel = np.zeros((1, 1, 2, 8))
    kernel[..., 0, :4] = [1, -1, 2, -2]
    kernel[..., 1, 4:] = [1, -1, 2, -2]
    one.model.get_layer("a").kernel.assign(kernel)
    one.model.get_layer("a").trainable = False
    y = labels(3, 480, seed)
    x = images(SHAPE, 480, seed)
    x[..., 0] += 2.0 * (y - 1)[:, np.newaxis, np.newaxis]
    return one, x, y


def test_channels_of_noise_die_before_those_of_the_signal():
    one, x, y = planted(0)
    optimizer = with_scale_rate(keras.optimizers.Adam(1e-2), one.regularizer.scales, 0.05)
    fit(regularized(one, 1.0), optimizer, x, y, epochs=3, batch=16)
    sizes = np.abs(np.asarray(one.scale("a_norm")))
    assert sizes[:4].max() > 4 * sizes[4:].max()
    kept = one.plan().keep_outputs["a"]
    assert set(kept) <= {0, 1, 2, 3}


def test_a_stronger_regulariser_leaves_no_more_flops():
    left = []
    for strength in (0.0, 0.5, 20.0):
        flops = []
        for seed in range(3):
            one, x, y = planted(seed, threshold=0.1, relative=False)
            optimizer = with_scale_rate(keras.optimizers.Adam(1e-2), one.regularizer.scales, 0.1)
            fit(regularized(one, strength), optimizer, x, y, batch=16)
            flops.append(one.graph.cost(one.plan().alive, "flops"))
        left.append(np.mean(flops))
    assert left[0] >= left[1] >= left[2]
    assert left[0] > left[2]
