"""When a job ends: what schedulers print, who is believed, and what an end in the past means."""

import logging
import math
import sys
import time

import pytest

from mpinas.config import RunSettings
from mpinas.errors import LaunchFault
from mpinas.walltime import (
    ScheduledEnd,
    ask_scheduler,
    job_clock,
    lsf_left_s,
    scheduled_end,
    slurm_left_s,
)

NOW_S = 1_764_000_000.0
HOUR_S = 3600.0


class Scheduler:
    """Answers what it is told to, and notes what it was asked."""

    def __init__(self, answer=None):
        self.answer = answer
        self.asked = []

    def __call__(self, command):
        self.asked.append(list(command))
        return self.answer


@pytest.mark.parametrize(
    ("text", "left_s"),
    [
        ("5:00\n", 300.0),
        ("0:07", 7.0),
        ("1:02:03\n", 3723.0),
        ("2-00:00:01\n", 172_801.0),
        ("UNLIMITED\n", math.inf),
        ("NOT_SET\n", None),
        ("INVALID\n", None),
        ("", None),
        ("slurm_load_jobs error: Invalid job id specified", None),
        ("UNLIMITED\n10:00\nNOT_SET\n9:00\n", 540.0),
        ("-1:00", None),
    ],
)
def test_what_squeue_prints(text, left_s):
    assert slurm_left_s(text) == left_s


@pytest.mark.parametrize(
    ("text", "left_s"),
    [
        ("0:12 L|15.0|180 second(s)\n", 720.0),
        ("120:00 L|-|-", 432_000.0),
        ("00:12:30 L|00:15:00|00:02:30", 750.0),
        ("0:12 E|15.0|180 second(s)", 720.0),
        ("0:02 E|-|180 second(s)", None),
        ("0:00 X|60.0|90 second(s)", 3510.0),
        ("-|00:15:00|00:02:30", 750.0),
        ("-|5.0/hostA|10 second(s)", None),
        ("-|-|10 second(s)", None),
        ("-|1.0|90 second(s)", 0.0),
        ("Job <7> is not found", None),
        ("", None),
        ("a|b|c|d", None),
    ],
)
def test_what_bjobs_prints(text, left_s):
    assert lsf_left_s(text) == left_s


def end(environment, scheduler):
    return scheduled_end(environment, now_s=NOW_S, ask=scheduler)


def test_without_a_scheduler_nobody_is_asked():
    scheduler = Scheduler("5:00")
    assert end({"SLURM_JOB_END_TIME": "5"}, scheduler) is None
    assert scheduler.asked == []


def test_slurms_variable_is_enough_where_it_is_ahead():
    scheduler = Scheduler("5:00")
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(NOW_S + 60))}
    assert end(environment, scheduler) == ScheduledEnd(
        end_s=NOW_S + 60, source="SLURM_JOB_END_TIME"
    )
    assert scheduler.asked == []


@pytest.mark.parametrize("variable", [{}, {"SLURM_JOB_END_TIME": ""}, {"SLURM_JOB_END_TIME": "x"}])
def test_squeue_is_asked_where_slurm_sets_no_variable(variable):
    scheduler = Scheduler("5:00\n")
    assert end({"SLURM_JOB_ID": "7", **variable}, scheduler) == ScheduledEnd(
        end_s=NOW_S + 300, source="squeue"
    )
    assert scheduler.asked == [["squeue", "-h", "-j", "7", "-o", "%L"]]


def test_a_limit_that_was_raised_since_is_believed_and_one_that_is_over_is_told():
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(NOW_S - 10))}
    assert end(environment, Scheduler("1:00:00")) == ScheduledEnd(
        end_s=NOW_S + HOUR_S, source="squeue"
    )
    silent = end(environment, Scheduler(None))
    assert silent == ScheduledEnd(end_s=NOW_S - 10, source="SLURM_JOB_END_TIME")


def test_of_an_array_one_task_is_asked_for():
    """The last task of an array has the number of the array: all tasks would be listed."""
    scheduler = Scheduler("5:00")
    end(
        {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"},
        scheduler,
    )
    assert scheduler.asked[0][3] == "7_3"


def test_lsf_is_asked_by_its_job():
    scheduler = Scheduler("0:12 L|15.0|180 second(s)")
    assert end({"LSB_JOBID": "9"}, scheduler) == ScheduledEnd(end_s=NOW_S + 720, source="bjobs")
    assert (scheduler.asked[0][0], scheduler.asked[0][-1]) == ("bjobs", "9")
    assert end({"LSB_JOBID": "9"}, Scheduler(None)) is None


def test_a_program_that_is_not_there_fails_or_hangs_says_nothing(monkeypatch):
    assert ask_scheduler([sys.executable, "-c", "print('5:00')"]) == "5:00\n"
    assert ask_scheduler(["/no/such/squeue"]) is None
    assert ask_scheduler([sys.executable, "-c", "print('5:00'); raise SystemExit(1)"]) is None
    monkeypatch.setattr("mpinas.walltime.ASK_LIMIT_S", 0.3)
    assert ask_scheduler([sys.executable, "-c", "import time; time.sleep(60)"]) is None


def clock(environment, scheduler=None, **run):
    began_s = run.pop("began_s", time.monotonic())
    return job_clock(
        RunSettings(**run), environment, began_s=began_s, ask=scheduler or Scheduler(None)
    )


def left_s(made):
    return made.deadline_s - time.monotonic()


@pytest.mark.parametrize(("told", "left"), [("20:00", 540), ("5:00", 300), ("UNLIMITED", 540)])
def test_what_the_user_says_is_counted_from_the_start_and_the_earlier_end_counts(told, left):
    """A configuration with a longer walltime than the job's would have trials killed in it."""
    made = clock(
        {"SLURM_JOB_ID": "7"},
        Scheduler(told),
        walltime="10:00",
        began_s=time.monotonic() - 60,
    )
    assert left_s(made) == pytest.approx(left, abs=5)


def test_the_scheduler_tells_a_time_of_day_whenever_the_job_began():
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time() + 600))}
    made = clock(environment, began_s=time.monotonic() - 10_000)
    assert left_s(made) == pytest.approx(600, abs=5)


def test_nobody_says_or_there_is_no_limit(caplog):
    with caplog.at_level(logging.WARNING):
        assert clock({}).deadline_s is None
        assert clock({"SLURM_JOB_ID": "7"}, Scheduler("UNLIMITED")).deadline_s is None
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert clock({"LSB_JOBID": "7"}).deadline_s is None
    assert "--walltime can say it" in caplog.text


@pytest.mark.parametrize(
    ("environment", "run", "words"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1000000"}, {}, "SLURM_JOB_END_TIME=1000000"),
        ({}, {"walltime": "1", "began_s": time.monotonic() - 61}, "run.walltime=1,"),
        ({}, {"walltime": "1", "began_s": time.monotonic() - 57}, "run.walltime=1,"),
    ],
)
def test_a_clock_already_over_is_refused_with_the_cure(environment, run, words):
    with pytest.raises(LaunchFault, match="over before a trial could begin") as caught:
        clock(environment, **run)
    assert words in str(caught.value)
    assert "--walltime" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_time_is_kept_for_the_end():
    """As much as the grace time and the end of the process, or a tenth of a short job."""
    made = clock({}, walltime="60", grace_s=30.0)
    assert made._reserve_s == 32.0
    assert clock({}, walltime="1", grace_s=30.0)._reserve_s == 6.0
