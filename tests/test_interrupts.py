import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tvm_prune.interrupts import interrupts_held_back, termination_as_interrupt


@pytest.fixture(autouse=True)
def python_handler() -> Iterator[None]:
    """Python's own handler: a shell that starts tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_interrupts_waits_for_the_end_of_the_block(number: int) -> None:
    reached = []

    def work() -> None:
        with interrupts_held_back():
            signal.raise_signal(number)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        work()
    assert reached == ["the end"]


def test_after_the_block_an_interrupt_is_raised_at_once() -> None:
    with interrupts_held_back():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_block_is_raised_and_the_handler_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), interrupts_held_back():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_use_the_block() -> None:
    reached = []

    def work() -> None:
        with interrupts_held_back():
            reached.append("the end")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == ["the end"]


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_an_interrupt_whether_or_not_ctrl_c_is_ignored(ctrl_c: Any) -> None:
    signal.signal(signal.SIGINT, ctrl_c)
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt() as arrived:
        signal.raise_signal(signal.SIGTERM)
    assert arrived == [signal.SIGTERM]


def test_sigterm_does_what_it_did_before_after_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with termination_as_interrupt():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
