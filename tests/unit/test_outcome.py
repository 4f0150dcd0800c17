"""Ways to die and their classes."""

from __future__ import annotations

import pytest
from handmade import fake_spec

from mpinas.records import Failure, TrialStatus
from mpinas.trial import outcome

SPEC = fake_spec(0, time_limit_s=2.0, memory_limit_mb=100.0)


@pytest.mark.parametrize(
    ("exit_code", "failure", "words"),
    [
        (0, Failure.CRASH, "exit code 0"),
        (3, Failure.CRASH, "exit code 3"),
        (-11, Failure.CRASH, "SIGSEGV"),
        (-9, Failure.CRASH, "SIGKILL"),
        (-6, Failure.CRASH, "SIGABRT"),
        (-15, Failure.INFRASTRUCTURE, "SIGTERM"),
        (-10, Failure.INFRASTRUCTURE, "SIGUSR1"),
        (-63, Failure.CRASH, "signal 63"),
    ],
)
def test_exit(exit_code: int, failure: Failure, words: str) -> None:
    result = outcome.of_exit(SPEC, exit_code, "")
    assert (result.status, result.failure) == (TrialStatus.FAILED, failure)
    assert words in result.error


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("ValueError", Failure.ERROR),
        ("MemoryError", Failure.OUT_OF_MEMORY),
        ("ResourceExhaustedError", Failure.OUT_OF_MEMORY),
        ("SystemExit", Failure.CRASH),
    ],
)
def test_exception(name: str, failure: Failure) -> None:
    result = outcome.of_exception(SPEC, name, "a traceback")
    assert (result.failure, result.error) == (failure, "a traceback")


def test_killed_while_the_host_had_no_memory_is_out_of_memory() -> None:
    result = outcome.of_exit(SPEC, -9, "", no_memory_left=True)
    assert (result.failure, outcome.is_starved(result)) == (Failure.OUT_OF_MEMORY, True)
    assert "the host had no memory left" in result.error


@pytest.mark.parametrize("exit_code", [-11, -6, 3])
def test_other_ends_have_their_own_reason_whatever_the_kernel_did(exit_code: int) -> None:
    result = outcome.of_exit(SPEC, exit_code, "", no_memory_left=True)
    assert (result.failure, outcome.is_starved(result)) == (Failure.CRASH, False)


@pytest.mark.parametrize(("exit_code", "words"), [(1, "exit code 1"), (-9, "SIGKILL")])
def test_who_ends_before_the_first_line_knows_nothing_of_the_candidate(
    exit_code: int, words: str
) -> None:
    result = outcome.of_exit(SPEC, exit_code, "", begun=False, no_memory_left=True)
    assert result.failure is Failure.INFRASTRUCTURE
    assert result.error == f"the process ended by {words} before its first line"


@pytest.mark.parametrize(
    ("name", "text", "starved"),
    [
        ("MemoryError", "Traceback\nMemoryError", True),
        ("MemoryError", "Traceback\nnumpy._core._exceptions._ArrayMemoryError: Unable to", True),
        ("ResourceExhaustedError", "Traceback\nResourceExhaustedError: MemoryError:", False),
        ("ValueError", "Traceback\nMemoryError", False),
    ],
)
def test_whose_memory_it_was(name: str, text: str, starved: bool) -> None:
    assert outcome.is_starved(outcome.of_exception(SPEC, name, text)) is starved


def test_notes_of_a_crash_are_kept() -> None:
    assert outcome.of_exit(SPEC, -11, "in module x").error.endswith("\nin module x")
    assert outcome.over_time(SPEC, "in a loop").error.endswith("2 s\nin a loop")


def test_over_memory_tells_what_it_had_from_the_start() -> None:
    error = outcome.over_memory(SPEC, 101.4, 99.6).error
    assert error == "over the memory limit of 100 MB: 101 MB of its own, 100 MB when it started"


def test_the_text_of_a_traceback_can_travel() -> None:
    try:
        raise ValueError("caf\udce9 caf\u00e9")
    except ValueError as error:
        text = outcome.traceback_of(error)
    assert text.startswith("Traceback (most recent call last)")
    assert text.rstrip().endswith("ValueError: caf\\udce9 caf\u00e9")
    assert text.encode()


def test_a_cancelled_trial_is_no_failure() -> None:
    result = outcome.interrupted(SPEC)
    assert (result.status, result.failure) == (TrialStatus.INTERRUPTED, None)
