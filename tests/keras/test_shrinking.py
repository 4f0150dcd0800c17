"""Whole trials with a shrink: what is trained in the end, for how long, and what is said of it."""

from __future__ import annotations

import math
import typing
from dataclasses import replace

import pytest
from keras_networks import (
    DIGITS_NETWORK,
    MAX_POOL,
    RELU,
    Server,
    chain,
    conv2d,
    dense,
    from_plain_result,
    same_numbers,
    trial,
    validation_accuracy,
)
from shrink_networks import conv_block, layer, network_of
from shrink_networks import dense as dense_layer

from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.config import TrialConfig
from mpinas.morphnet.channels import graph_of
from mpinas.records import Failure, NetworkSpec, ShrinkOutcome, TrialResult, TrialStatus

pytestmark = pytest.mark.keras

STEPS = 10
"""Of an epoch: 600 images in batches of 64."""

BARE = chain(
    (8, 8, 1),
    conv2d(8, use_bias=True),
    RELU,
    MAX_POOL,
    ("flatten", {}),
    dense(32),
    RELU,
    dense(10),
)
"""Without a batch norm."""

NORMALISED = chain((8, 8, 1), conv2d(8), ("batch_norm", {}), RELU, ("flatten", {}), dense(10))
"""All that may die has a batch norm: no gate is put in, and the network itself is regularised."""

BRANCHES = network_of(
    (8, 8, 1),
    *conv_block("stem", "image", 8),
    *conv_block("inner", "stem_relu", 6),
    *conv_block("back", "inner_relu", 8, 1),
    layer("sum", "add", "stem_relu", "back_relu"),
    *conv_block("beside", "image", 5),
    layer("both", "concatenate", "sum", "beside_relu"),
    layer("pool", "global_average_pool", "both"),
    dense_layer("hidden", "pool", 12),
    layer("hidden_relu", "activation", "hidden", function="relu"),
    dense_layer("logits", "hidden_relu", 10),
)

ALL_DIE = {"strength": 1e6, "scale_learning_rate": 0.05, "threshold": 0.6, "relative": False}
"""All scales fall from 1 to 0.5 in an epoch, and the threshold is not relative to any of them."""


def shrinking(digits: str, network: NetworkSpec = DIGITS_NETWORK, **changes):
    """A trial with a shrink; ``shrink`` are its settings."""
    settings = {"enabled": True, **changes.pop("shrink", {})}
    return trial(digits, network, shrink=settings, **changes)


class Default:
    """The trial that most tests look at: three epochs, the first of them regularised."""

    def __init__(self, server: Server, digits: str, weights) -> None:
        self.spec = shrinking(digits, epochs=3, weights_path=str(weights))
        self.weights = weights
        self.answer = server.ask(self.spec)
        self.result = from_plain_result(self.answer)


@pytest.fixture(scope="module")
def default(server, digits, tmp_path_factory) -> Default:
    return Default(server, digits, tmp_path_factory.mktemp("weights") / "t.weights.h5")


def rows(answer: dict) -> list[tuple[int, int]]:
    return [(row["epoch"], row["epochs"]) for row in answer["progress"]]


def check(result: TrialResult, network: NetworkSpec) -> None:
    """What holds of every trial whose shrink came to a cut."""
    assert result.status is TrialStatus.COMPLETE, result.error
    shrink = result.shrink
    assert shrink.outcome in (ShrinkOutcome.SHRUNK, ShrinkOutcome.NOTHING_REMOVED)
    assert result.costs == network_costs(network)
    assert set(shrink.widths) == set(result.widths)
    assert all(shrink.widths[name] <= width for name, width in result.widths.items())
    assert result.shrunk_costs == network_costs(narrow(network, shrink.widths))
    removed = result.shrunk_costs.flops < result.costs.flops
    assert removed == (shrink.outcome is ShrinkOutcome.SHRUNK)
    assert 0 <= shrink.accuracy_before_cut <= 1
    times = result.times
    assert min(times.build_s, times.shrink_s, times.rebuild_s, times.train_s) > 0
    parts = times.build_s + times.shrink_s + times.rebuild_s + times.train_s + times.evaluate_s
    assert parts <= times.wall_time_s
    assert len(times.epochs_s) == len(result.curves.training_loss)
    assert all(math.isfinite(loss) for loss in result.curves.training_loss)


def test_a_shrunk_trial_says_all_about_it(default):
    result, shrink = default.result, default.result.shrink
    check(result, DIGITS_NETWORK)
    assert shrink.outcome is ShrinkOutcome.SHRUNK
    assert (shrink.steps, shrink.warnings) == (STEPS, ())
    assert result.widths == {"conv2d_1": 8, "dense_6": 32, "dense_9": 10}
    assert shrink.widths["dense_9"] == 10
    assert 0 < shrink.widths["conv2d_1"] < 8
    assert 0 < shrink.widths["dense_6"] < 32
    assert shrink.alive_flops_at_start == result.costs.flops
    assert 0 <= shrink.accuracy_after_cut <= 1
    assert 0 < shrink.cut_error < 1
    assert result.fitness > 0.5


def test_alive_channels_cost_what_the_rebuilt_network_does(default):
    """FLOPs by alive groups, of the groups that the widths tell of."""
    graph, widths = graph_of(DIGITS_NETWORK), default.result.shrink.widths
    alive = graph.all_alive()
    for name, width in widths.items():
        alive[graph.outputs[name][width:]] = False
    assert graph.cost(alive, "flops") == default.result.shrunk_costs.flops


def test_a_trial_repeats_to_the_last_bit(server, default):
    again = from_plain_result(server.ask(replace(default.spec, weights_path=None)))
    assert same_numbers(again, default.result)
    assert (again.shrink, again.shrunk_costs) == (
        default.result.shrink,
        default.result.shrunk_costs,
    )


def test_the_saved_weights_are_those_of_the_narrower_network(default, digits):
    narrower = narrow(DIGITS_NETWORK, default.result.shrink.widths)
    found = validation_accuracy(digits, default.weights, narrower)
    assert found == pytest.approx(default.result.fitness)


def test_the_shrink_is_counted_among_the_epochs(default):
    assert rows(default.answer) == [(1, 3), (2, 3), (3, 3)]
    first, *_ = default.answer["progress"]
    assert first["validation_accuracy"] == default.result.shrink.accuracy_before_cut
    assert len(default.result.curves.validation_accuracy) == 2


def test_with_fresh_weights_all_epochs_follow_the_shrink(server, digits, default):
    answer = server.ask(shrinking(digits, epochs=3, shrink={"inherit_weights": False}))
    result = from_plain_result(answer)
    check(result, DIGITS_NETWORK)
    assert rows(answer) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(result.curves.training_loss) == 3
    inherited, fresh = default.result.shrink, result.shrink
    assert fresh.widths == inherited.widths
    assert fresh.accuracy_before_cut == inherited.accuracy_before_cut
    assert (fresh.accuracy_after_cut, fresh.cut_error) == (None, None)


def test_half_an_epoch_counts_whole(server, digits):
    spec = shrinking(digits, shrink={"epochs": 0.5})
    answer = server.ask(spec)
    result = from_plain_result(answer)
    check(result, DIGITS_NETWORK)
    assert result.shrink.steps == STEPS // 2
    assert rows(answer) == [(1, 2), (2, 2)]
    one_by_one = server.run(replace(spec, settings={**spec.settings, "steps_per_execution": 1}))
    assert same_numbers(result, one_by_one)
    assert one_by_one.shrink == result.shrink


def test_one_epoch_and_a_half_count_as_two(server, digits):
    answer = server.ask(shrinking(digits, epochs=3, shrink={"epochs": 1.5}))
    result = from_plain_result(answer)
    check(result, DIGITS_NETWORK)
    assert result.shrink.steps == STEPS * 3 // 2
    assert rows(answer) == [(2, 3), (3, 3)]


def test_scales_that_do_not_move_leave_the_network_as_it_was(server, digits):
    result = server.run(shrinking(digits, shrink={"scale_learning_rate": 1e-9}))
    check(result, DIGITS_NETWORK)
    shrink = result.shrink
    assert shrink.outcome is ShrinkOutcome.NOTHING_REMOVED
    assert (result.shrunk_costs, shrink.widths) == (result.costs, result.widths)
    assert shrink.accuracy_after_cut == shrink.accuracy_before_cut
    assert shrink.cut_error < 1e-6
    assert len(result.curves.training_loss) == 1


def test_however_strong_every_layer_keeps_some_channels(server, digits):
    result = server.run(shrinking(digits, shrink={**ALL_DIE, "min_filters": 3}))
    check(result, DIGITS_NETWORK)
    assert result.shrink.widths == {"conv2d_1": 3, "dense_6": 3, "dense_9": 10}


def test_a_dead_branch_is_left_out_and_the_rest_is_trained(server, digits, tmp_path):
    file = tmp_path / "t.weights.h5"
    result = server.run(
        shrinking(digits, BRANCHES, shrink=ALL_DIE, weights_path=str(file), epochs=3)
    )
    check(result, BRANCHES)
    widths = result.shrink.widths
    assert widths["inner"] == widths["back"] == 0
    assert widths["stem"] + widths["beside"] > 0
    narrower = narrow(BRANCHES, widths)
    assert not {"sum", "back_relu"} & {one.name for one in narrower.layers}
    assert validation_accuracy(digits, file, narrower) == pytest.approx(result.fitness)


def test_joined_branches_are_cut_as_one(server, digits, tmp_path):
    file = tmp_path / "t.weights.h5"
    result = server.run(shrinking(digits, BRANCHES, weights_path=str(file), epochs=3))
    check(result, BRANCHES)
    widths = result.shrink.widths
    assert result.shrink.outcome is ShrinkOutcome.SHRUNK
    assert widths["stem"] == widths["back"] > 0, "this trial tells nothing of joined channels"
    found = validation_accuracy(digits, file, narrow(BRANCHES, widths))
    assert found == pytest.approx(result.fitness)


def test_a_network_without_batch_norms_is_shrunk_by_gates(server, digits, tmp_path):
    file = tmp_path / "t.weights.h5"
    result = server.run(shrinking(digits, BARE, weights_path=str(file), epochs=3))
    check(result, BARE)
    assert result.shrink.outcome is ShrinkOutcome.SHRUNK
    found = validation_accuracy(digits, file, narrow(BARE, result.shrink.widths))
    assert found == pytest.approx(result.fitness)


def test_gammas_of_a_network_without_batch_norms_are_a_warning(server, digits):
    answer = server.ask(shrinking(digits, BARE, shrink={"source": "gamma"}))
    result = from_plain_result(answer)
    assert same_numbers(result, server.run(trial(digits, BARE)))
    shrink = result.shrink
    assert (shrink.outcome, shrink.steps) == (ShrinkOutcome.NOTHING_REMOVED, 0)
    assert (result.shrunk_costs, shrink.widths) == (result.costs, result.widths)
    assert "source: auto" in "".join(shrink.warnings)
    assert rows(answer) == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("network", "shrink", "why"),
    [
        (NORMALISED, {"strength": 1e40}, "loss nan"),
        (DIGITS_NETWORK, {"scale_learning_rate": 1e4}, "validation loss"),
    ],
)
def test_a_network_that_the_shrink_breaks_is_trained_as_if_there_were_none(
    server, digits, network, shrink, why
):
    """The first stops in the middle of the shrink, at a loss that is no number."""
    answer = server.ask(shrinking(digits, network, shrink=shrink))
    result = from_plain_result(answer)
    assert same_numbers(result, server.run(trial(digits, network)))
    assert result.shrink.outcome is ShrinkOutcome.BROKEN
    assert 0 < result.shrink.steps <= STEPS
    assert (result.shrunk_costs, result.shrink.widths) == (None, {})
    assert (result.shrink.accuracy_after_cut, result.shrink.cut_error) == (None, None)
    assert why in "".join(result.shrink.warnings)
    assert result.times.shrink_s > 0
    assert rows(answer) == [(1, 2), (2, 2)]


def test_a_network_that_breaks_with_and_without_a_shrink_fails(server, digits):
    answer = server.ask(shrinking(digits, optimizer="sgd", learning_rate=1e6))
    result = from_plain_result(answer)
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.NOT_A_NUMBER)
    assert result.shrink.outcome is ShrinkOutcome.BROKEN
    assert result.shrunk_costs is None
    assert rows(answer) == []


def test_what_the_literal_rule_removes_before_the_first_step_is_a_warning(server, digits):
    """The largest of 4096 weights that begin with a deviation of 0.022 is below 0.1."""
    wide = chain(
        (8, 8, 1), conv2d(64, use_bias=True), RELU, ("flatten", {}), dense(8), RELU, dense(10)
    )
    literal = {"source": "max_weight", "threshold": 0.1}
    result = server.run(shrinking(digits, wide, shrink=literal, learning_rate=1e-4))
    check(result, wide)
    of_the_convolution = 2 * 8 * 8 * 9 * 64
    assert result.shrink.alive_flops_at_start == of_the_convolution < result.costs.flops
    (line,) = result.shrink.warnings
    assert f"{of_the_convolution} of {result.costs.flops} FLOPs" in line
    assert result.shrink.widths["dense_4"] == 1


PRECISIONS = {"adamw": "mixed_bfloat16", "nadam": "mixed_float16"}
OPTIMIZERS = typing.get_args(TrialConfig.model_fields["optimizer"].annotation)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "adam"])
def test_every_optimizer_shrinks_and_every_precision(server, digits, optimizer):
    precision = PRECISIONS.get(optimizer, "float32")
    result = server.run(shrinking(digits, optimizer=optimizer, precision=precision))
    check(result, DIGITS_NETWORK)
    assert result.shrink.outcome is ShrinkOutcome.SHRUNK
    assert result.shrink.steps == STEPS
    assert result.shrink.cut_error < 1


def test_copies_are_shrunk_with_and_the_best_epoch_is_kept(server, digits, tmp_path):
    file = tmp_path / "t.weights.h5"
    spec = shrinking(digits, epochs=3, fitness="best", weights_path=str(file))
    augment = {"copies": 2, "flip": False}
    answer = server.ask(replace(spec, problem=replace(spec.problem, augment=augment)))
    result = from_plain_result(answer)
    check(result, DIGITS_NETWORK)
    assert result.shrink.steps == math.ceil(2 * 600 / 64)
    assert rows(answer) == [(1, 3), (2, 3), (3, 3)]
    narrower = narrow(DIGITS_NETWORK, result.shrink.widths)
    assert validation_accuracy(digits, file, narrower) == pytest.approx(result.fitness)


def test_other_rules_end_in_a_cut_too(server, digits):
    shrink = {
        "source": "group_lasso",
        "penalty": "l2",
        "metric": "parameters",
        "threshold": 0.9,
        "relative": True,
        "round_to": 4,
    }
    result = server.run(shrinking(digits, shrink=shrink))
    check(result, DIGITS_NETWORK)
    assert result.shrink.outcome is ShrinkOutcome.SHRUNK
    assert [width % 4 for width in result.shrink.widths.values()] == [0, 0, 2]
