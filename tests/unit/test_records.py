"""Records and JSON: every field both ways, and what older versions wrote is read."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mpinas.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mpinas.journal import read_results
from mpinas.records import (
    Costs,
    Curves,
    Shrink,
    ShrinkOutcome,
    Times,
    TrialResult,
    TrialStatus,
    Worker,
    from_json,
    from_plain,
    parse_json,
    to_json,
    to_plain,
)

OLD_RESULT = (
    b'{"trial_id":"g001-t004","network_hash":"0123456789abcdef","status":"complete",'
    b'"failure":null,"fitness":0.9375,"curves":{"training_loss":[1.5,"NaN"],'
    b'"training_accuracy":[0.5,0.75],"validation_loss":[1.25,1.0],'
    b'"validation_accuracy":[0.5,0.9375]},"costs":{"flops":2000000,"parameters":23384,'
    b'"activations":5000},"shrunk_costs":null,"widths":{"convolution_0":32,"logits":10},'
    b'"times":{"start_s":0.5,"build_s":0.25,"shrink_s":0.0,"train_s":2.0,"evaluate_s":0.125,'
    b'"wall_time_s":3.0},"worker":{"host":"laptop","rank":1,"device":"cpu"},'
    b'"versions":{"mpinas":"0.1.0"},"error":""}'
)
"""A result as it was written before it could tell of a shrink."""

SHRUNK = TrialResult(
    trial_id="g001-t005",
    network_hash="fedcba9876543210",
    status=TrialStatus.COMPLETE,
    fitness=0.1 + 0.2,
    curves=Curves(
        training_loss=(1.5, 1.25),
        training_accuracy=(0.5, 0.75),
        validation_loss=(1.25, 1.0),
        validation_accuracy=(0.5, 0.9375),
    ),
    costs=Costs(flops=2_000_000, parameters=23_384, activations=5_000),
    shrunk_costs=Costs(flops=760_000, parameters=9_000, activations=2_100),
    shrink=Shrink(
        outcome=ShrinkOutcome.SHRUNK,
        steps=469,
        widths={"convolution_1": 0, "convolution_0": 12, "logits": 10},
        alive_flops_at_start=2_000_000,
        accuracy_before_cut=0.8,
        accuracy_after_cut=0.7,
        cut_error=1e-7,
        warnings=("first: [a, b]", "second"),
    ),
    widths={"convolution_1": 8, "convolution_0": 32, "logits": 10},
    times=Times(shrink_s=1.5, rebuild_s=0.75, train_s=2.0, wall_time_s=5.0, epochs_s=(1.5, 1 / 3)),
    worker=Worker(host="laptop", rank=1, device="cpu"),
)


def of_this_shrink(**changes: Any) -> TrialResult:
    """The shrunk trial with another shrink."""
    assert SHRUNK.shrink is not None
    return dataclasses.replace(SHRUNK, shrink=dataclasses.replace(SHRUNK.shrink, **changes))


NO_CUT = {"accuracy_before_cut": None, "accuracy_after_cut": None, "cut_error": None, "widths": {}}


@pytest.mark.parametrize(
    "result",
    [
        SHRUNK,
        of_this_shrink(outcome=ShrinkOutcome.NOTHING_REMOVED, **NO_CUT),
        dataclasses.replace(
            of_this_shrink(outcome=ShrinkOutcome.BROKEN, **NO_CUT), shrunk_costs=None
        ),
        dataclasses.replace(SHRUNK, shrink=None, shrunk_costs=None, times=Times()),
    ],
    ids=["shrunk", "nothing removed", "broken", "no shrink"],
)
def test_a_result_is_read_as_it_was_written(result: TrialResult) -> None:
    assert from_json(TrialResult, to_json(result)) == result
    assert from_plain(TrialResult, to_plain(result)) == result


def test_the_order_of_layers_is_kept() -> None:
    read = from_json(TrialResult, to_json(SHRUNK))
    assert read.shrink is not None
    assert list(read.shrink.widths) == ["convolution_1", "convolution_0", "logits"]


def test_words_of_the_json() -> None:
    words = [to_plain(outcome) for outcome in ShrinkOutcome]
    assert words == ["shrunk", "nothing_removed", "broken"]


@pytest.mark.parametrize("field", ["outcome", "steps", "alive_flops_at_start"])
def test_half_a_shrink_is_no_result(field: str) -> None:
    plain = to_plain(SHRUNK)
    del plain["shrink"][field]
    with pytest.raises(ValueError, match=field):
        from_plain(TrialResult, plain)


def is_the_old_one(result: TrialResult) -> bool:
    """Whether all that stands there was read, and nothing was made up."""
    plain = to_plain(result)
    assert (plain.pop("shrink"), plain["times"].pop("rebuild_s")) == (None, 0.0)
    assert (plain["times"].pop("epochs_s"), plain["times"].pop("cpu_s")) == ([], 0.0)
    assert plain["times"].pop("ended_at") == 0.0
    return bool(plain == parse_json(OLD_RESULT))


def test_a_result_of_before_the_shrink_is_read() -> None:
    assert is_the_old_one(from_json(TrialResult, OLD_RESULT))


def test_a_journal_of_before_the_shrink_is_read(tmp_path: Path) -> None:
    journal = tmp_path / "g001.jsonl"
    journal.write_bytes(
        b'{"crc":"%08x","result":%s}\n' % (zlib.crc32(OLD_RESULT), OLD_RESULT)
        + b'{"crc":"%08x","result":%s}\n' % (zlib.crc32(to_json(SHRUNK)), to_json(SHRUNK))
    )
    old, new = read_results(journal)
    assert is_the_old_one(old)
    assert new == SHRUNK


def test_a_checkpoint_of_before_the_shrink_is_read(tmp_path: Path) -> None:
    results: list[Mapping[str, Any]] = [parse_json(OLD_RESULT), to_plain(SHRUNK)]
    checkpoint = Checkpoint(
        generation=1, state={}, history_start=0, history=(), results=results, about={}
    )
    save_checkpoint(tmp_path / "g001.h5", checkpoint)
    old, new = (
        from_plain(TrialResult, result) for result in load_checkpoint(tmp_path / "g001.h5").results
    )
    assert is_the_old_one(old)
    assert new == SHRUNK
