"""What signals ask for: an end in order, and, repeated, an end at once."""

import os
import signal

import pytest

from mpinas.signals import ECHO_S, STOP_SIGNALS, StopRequest, stop_signals


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
