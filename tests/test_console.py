"""Progress and logs go to standard error, results alone to standard output."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tvm_prune.console import ConsoleProgress, show_logs
from tvm_prune.progress import Progress, Silent


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("tvm_prune")
    before = logger.handlers, logger.level
    yield
    logger.handlers, level = before[0], before[1]
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, {"warning"}), (1, {"warning", "info"}), (2, {"warning", "info", "debug"})],
)
def test_each_v_shows_more_logs(
    verbosity: int, shown: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    show_logs(verbosity)
    logger = logging.getLogger("tvm_prune.some.module")
    for level in ("debug", "info", "warning"):
        getattr(logger, level)("this is a message of level %s", level)
    captured = capsys.readouterr()
    assert captured.out == ""
    for level in ("debug", "info", "warning"):
        assert (f"level {level}" in captured.err) == (level in shown)


def test_more_vs_than_there_are_levels_show_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_logs(9)
    logging.getLogger("tvm_prune").debug("a detail")
    assert "a detail" in capsys.readouterr().err


def test_a_line_is_logged_once_however_often_logs_are_set_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_logs(0)
    show_logs(0)
    logging.getLogger("tvm_prune").warning("only once")
    assert capsys.readouterr().err.count("only once") == 1


def test_a_step_shows_its_title_how_far_it_is_and_what_is_worked_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ConsoleProgress().step("tuning", 4) as step:
        step.update(3, "kernel 2 of 5", total=7)
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in ("tuning", "3/7", "kernel 2 of 5"):
        assert words in captured.err


def test_facts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    fact = "group [bold]conv[/bold] keeps [16, 8] of " + "many " * 60 + "channels"
    ConsoleProgress().say(fact)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert fact in captured.err


def test_details_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress().step("step", 1) as step:
        step.update(1, "[red]x[/]")
    assert "[red]x[/]" in capsys.readouterr().err


def test_an_error_ends_the_step_and_is_passed_on() -> None:
    progress = ConsoleProgress()
    with pytest.raises(ValueError, match="broken"), progress.step("step", 1):
        raise ValueError("broken")
    with progress.step("the next one", 1) as step:
        step.update(1)


def test_silence_takes_the_same_calls_and_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: dict[type[Progress], str] = {}
    progress: Progress
    for progress in (Silent(), ConsoleProgress()):
        with progress.step("step", 2) as step:
            step.update(1, "detail", total=3)
        progress.say("fact")
        captured = capsys.readouterr()
        assert captured.out == ""
        told[type(progress)] = captured.err
    assert told[Silent] == ""
    assert "fact" in told[ConsoleProgress]
