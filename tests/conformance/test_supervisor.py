"""The supervisor of a trial, with a runner that misbehaves in every way it can."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from supervising import WORKER, gone, odd, outcome_of, watch, works

from mpinas.records import (
    Failure,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialStatus,
    from_json,
    to_json,
)
from mpinas.trial import child
from mpinas.trial.child import Supervisor
from mpinas.trial.processes import BADNESS


def test_what_a_trial_finds_around_it(slot: Supervisor) -> None:
    own = dict(os.environ)
    found = json.loads(outcome_of(slot, odd("surroundings")).error)
    environment = found["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment["KERAS_BACKEND"] == "tensorflow"
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        assert environment[name] == "1"
    assert not [name for name in environment if name.startswith(("PMI", "OMPI_", "HYDRA"))]
    assert found["core"] == 0
    assert found["term_is_default"] is True
    assert found["group"] is True
    assert found["badness"] == BADNESS, "rather the trial than its worker"
    assert (found["tensorflow"], found["mpi4py"]) == (False, False)
    assert found["path"] == sys.path
    assert dict(os.environ) == own


def test_identity_comes_from_the_spec(slot: Supervisor) -> None:
    spec = odd("strangers_name")
    result = outcome_of(slot, spec)
    assert (result.trial_id, result.network_hash) == (spec.trial_id, spec.network.hash)
    assert result.worker == WORKER


def test_no_result_object_is_an_error(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("nothing"))
    assert (result.failure, "NoneType" in result.error) == (Failure.ERROR, True)


def test_a_diverging_loss_is_reported(slot: Supervisor) -> None:
    started, progress, finished = watch(slot, odd("diverging"))
    assert isinstance(started, Started)
    assert isinstance(progress, Progress)
    assert progress.loss != progress.loss
    assert isinstance(finished, Finished)


def test_a_result_larger_than_a_pipe_arrives_whole(slot: Supervisor) -> None:
    assert len(outcome_of(slot, odd("large")).error) == 5_000_000


def test_tensorflows_out_of_memory_is_known_by_name(slot: Supervisor) -> None:
    assert outcome_of(slot, odd("out_of_memory")).failure is Failure.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("counts", "failure"),
    [((4, 5), Failure.OUT_OF_MEMORY), ((4, 4), Failure.CRASH), ((None, None), Failure.CRASH)],
)
def test_a_kill_is_for_lack_of_memory_where_the_kernel_counts_one(
    slot: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    counts: tuple[int | None, int | None],
    failure: Failure,
) -> None:
    answers = iter(counts)
    monkeypatch.setattr(child, "memory_kills", lambda: next(answers))
    assert outcome_of(slot, odd("killed")).failure is failure


def test_noise_on_the_standard_streams_is_no_message(slot: Supervisor) -> None:
    assert outcome_of(slot, odd("talkative")).status is TrialStatus.COMPLETE


def test_what_a_trial_leaves_behind_ends_with_it(slot: Supervisor) -> None:
    assert gone(int(outcome_of(slot, odd("grandchild")).error))


def test_what_a_trial_started_ends_with_its_timeout(slot: Supervisor) -> None:
    events = watch(slot, odd("grandchild_and_hang", time_limit_s=0.5))
    (progress,) = (event for event in events if isinstance(event, Progress))
    assert isinstance(events[-1], Finished)
    assert events[-1].result.failure is Failure.TIMEOUT
    assert "in grandchild_and_hang" in events[-1].result.error, "the stack tells where it was"
    assert gone(progress.epoch)


def test_a_result_stands_although_the_process_does_not_end(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "EXIT_GRACE_S", 0.1)
    assert outcome_of(slot, odd("hang_at_the_end")).status is TrialStatus.COMPLETE
    assert works(slot)


@pytest.mark.parametrize(
    "what", ["unreadable_progress", "unreadable_error", "unreadable_result", "line_of_no_kind"]
)
def test_a_line_that_cannot_be_read_ends_its_trial_and_nothing_else(
    slot: Supervisor, what: str
) -> None:
    result = outcome_of(slot, odd(what))
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.ERROR)
    assert "cannot be read" in result.error
    assert works(slot)


def test_an_error_with_a_name_that_is_no_text_can_travel(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("name_that_is_no_text"))
    assert result.failure is Failure.ERROR
    assert "caf\\udce9.h5" in from_json(TrialResult, to_json(result)).error


def test_the_mapped_data_set_costs_a_trial_no_memory(slot: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "data"
    with open(file, "wb") as target:
        target.truncate(400 * 2**20)
    spec = odd("mapped_file", memory_limit_mb=300.0)
    result = outcome_of(slot, replace(spec, problem=replace(spec.problem, path=str(file))))
    assert result.status is TrialStatus.COMPLETE, result.error


def test_a_memory_limit_that_no_trial_can_keep_says_so(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("hang", memory_limit_mb=1.0))
    assert result.failure is Failure.OUT_OF_MEMORY
    words = re.fullmatch(
        r"over the memory limit of 1 MB: (\d+) MB of its own, (\d+) MB when it started",
        result.error,
    )
    assert words is not None, result.error
    assert int(words[1]) >= int(words[2]) > 1


def test_a_signal_from_a_scheduler_is_no_fault_of_the_trial(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("terminated_from_outside"))
    assert (result.failure, "SIGTERM" in result.error) == (Failure.INFRASTRUCTURE, True)


def test_signals_for_rank_0_pass_a_trial_by(slot: Supervisor) -> None:
    assert works(slot)


def test_a_busy_slot_takes_nothing(slot: Supervisor) -> None:
    slot.start(odd("hang"))
    with pytest.raises(RuntimeError, match="busy with g000-t005"):
        slot.start(odd("nothing"))


def test_no_descriptor_is_left_behind(slot: Supervisor) -> None:
    kinds = ("nothing", "grandchild", "terminated_from_outside", "large")
    for kind in kinds:
        outcome_of(slot, odd(kind))
    before = len(os.listdir("/proc/self/fd"))
    for kind in (*kinds, *kinds):
        outcome_of(slot, odd(kind))
    assert len(os.listdir("/proc/self/fd")) == before
