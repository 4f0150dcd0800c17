"""What signals ask for: an end in order, and, repeated, an end at once."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mpinas.signals import ECHO_S, STOP_SIGNALS, StoppedEarly, StopRequest, held, stop_signals


class Time:
    """A clock that is set."""

    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def request_and_time():
    time = Time()
    return StopRequest(time), time


def test_nothing_is_asked_before_a_signal(request_and_time):
    request, _ = request_and_time
    assert (request(), request.urgent(), request.name) == (False, False, "")


def test_the_first_signal_asks_for_an_end_in_order_and_is_named(request_and_time):
    request, time = request_and_time
    request.note(signal.SIGUSR1)
    time.now_s += 3600
    assert (request(), request.urgent(), request.name) == (True, False, "SIGUSR1")


def test_an_echo_is_no_second_request(request_and_time):
    """Slurm signals the ranks while the script's trap signals the launcher, which passes it on."""
    request, time = request_and_time
    for _ in range(5):
        request.note(signal.SIGTERM)
        time.now_s += ECHO_S / 10
    assert not request.urgent()


def test_a_later_signal_of_any_kind_asks_for_an_end_at_once(request_and_time):
    request, time = request_and_time
    request.note(signal.SIGUSR2)
    time.now_s += 1.01 * ECHO_S
    request.note(signal.SIGINT)
    assert request.urgent()
    assert request.name == "SIGUSR2"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_signal_is_noted_and_then_ignored(number):
    before = {one: signal.getsignal(one) for one in STOP_SIGNALS}
    try:
        with stop_signals() as request:
            os.kill(os.getpid(), number)
            assert request()
            assert request.name == number.name
        assert {signal.getsignal(one) for one in STOP_SIGNALS} == {signal.SIG_IGN}
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_to_be_continued_asks_for_nothing():
    """Slurm sends it beside every other signal."""
    with stop_signals() as request:
        os.kill(os.getpid(), signal.SIGCONT)
        assert not request()


def test_without_a_signal_the_handlers_are_as_before():
    before = {one: signal.getsignal(one) for one in STOP_SIGNALS}
    with stop_signals():
        pass
    assert {one: signal.getsignal(one) for one in STOP_SIGNALS} == before


@pytest.fixture
def usual_signals():
    """Handlers are afterwards as before, whatever ``stop_signals`` made of them."""
    before = {one: signal.getsignal(one) for one in (*STOP_SIGNALS, signal.SIGALRM)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def signal_oneself():
    os.kill(os.getpid(), signal.SIGUSR1)


def broken_off(work, left_s=None, before=lambda: None):
    """Why the work was broken off, empty where it was not, and what had been asked for."""
    with stop_signals() as request:
        before()
        try:
            with request.at_once(left_s):
                work()
        except StoppedEarly as reason:
            return str(reason), request()
        return "", request()


@pytest.mark.usefixtures("usual_signals")
def test_work_that_can_be_done_again_is_broken_off_by_a_signal():
    done = []
    alarm = signal.getsignal(signal.SIGALRM)
    assert broken_off(lambda: (signal_oneself(), done.append(1))) == ("SIGUSR1", True)
    assert not done
    assert signal.getsignal(signal.SIGALRM) == alarm


@pytest.mark.usefixtures("usual_signals")
def test_a_signal_that_came_before_lets_nothing_begin():
    done = []
    assert broken_off(lambda: done.append(1), 3600.0, signal_oneself) == ("SIGUSR1", True)
    assert not done


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("left_s", [-5.0, 0.0, 0.05])
def test_the_clock_breaks_it_off_too(left_s):
    assert broken_off(lambda: time.sleep(60), left_s) == ("the walltime is near", False)


@pytest.mark.usefixtures("usual_signals")
def test_what_is_cleaned_up_is_not_broken_off():
    cleaned = []

    def work():
        try:
            signal_oneself()
        finally:
            signal_oneself()
            cleaned.append(1)

    assert broken_off(work) == ("SIGUSR1", True)
    assert cleaned


@pytest.mark.usefixtures("usual_signals")
def test_a_request_that_somebody_swallowed_is_told_at_the_end():
    """As a destructor does, or a library that calls back."""
    done = []

    def work():
        with contextlib.suppress(BaseException):
            signal_oneself()
        done.append(1)

    assert broken_off(work) == ("SIGUSR1", True)
    assert done


def check_held_signals_come_afterwards():
    reached = []

    def work():
        with held():
            signal_oneself()
            reached.append("inside")
        reached.append("behind")

    assert broken_off(work) == ("SIGUSR1", True)
    assert reached == ["inside"]


@pytest.mark.usefixtures("usual_signals")
def test_held_signals_come_afterwards():
    check_held_signals_come_afterwards()


@pytest.mark.usefixtures("usual_signals")
def test_outside_of_such_work_a_signal_is_only_noted():
    with stop_signals() as request:
        with request.at_once(3600.0):
            pass
        signal_oneself()
        assert request()


STUCK = """
import sys, time
from mpinas.signals import hold_signals, leaving_what_hangs
limit_s, stuck_s = map(float, sys.argv[1:])
hold_signals()
with leaving_what_hangs(limit_s, lambda name: print(name, "said", flush=True)):
    print("begun", flush=True)
    time.sleep(stuck_s)
import signal
print("over, held:", *(signal.Signals(one).name for one in signal.sigpending()), flush=True)
"""


def end_of_stuck(limit_s, stuck_s, *signals_and_pauses):
    """What a process says and its exit code that gets these signals, with pauses in seconds."""
    program = [sys.executable, "-c", STUCK, str(limit_s), str(stuck_s)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    for one in signals_and_pauses:
        if isinstance(one, signal.Signals):
            process.send_signal(one)
        else:
            time.sleep(one)
    said, _ = process.communicate(timeout=60)
    return said, process.returncode


def test_a_process_that_is_stuck_leaves_some_time_after_a_signal():
    assert end_of_stuck(0.5, 300, signal.SIGTERM) == ("SIGTERM said\n", 75)


def test_a_process_that_is_stuck_leaves_at_once_after_a_second_signal():
    signals = (signal.SIGUSR1, ECHO_S + 0.3, signal.SIGUSR1)
    assert end_of_stuck(300, 300, *signals) == ("SIGUSR1 said\n", 75)


def test_an_echo_does_not_hurry_what_is_stuck_and_the_signal_is_still_there_afterwards():
    signals = (signal.SIGUSR2, signal.SIGUSR2)
    assert end_of_stuck(300, 2, *signals) == ("over, held: SIGUSR2\n", 0)


def test_what_is_not_stuck_for_long_goes_on():
    assert end_of_stuck(0.5, 0.1) == ("over, held:\n", 0)


@pytest.mark.usefixtures("usual_signals")
def test_held_signals_wait_although_a_thread_of_a_library_hears_them():
    """Such threads take a signal that this one has masked, and Python's handler runs here."""
    over = threading.Event()
    listener = threading.Thread(target=over.wait)
    listener.start()
    try:
        check_held_signals_come_afterwards()
    finally:
        over.set()
        listener.join()
