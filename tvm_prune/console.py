"""Progress bars and logs on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

LOG_WIDTH = 140
"""Columns of standard error where it is no terminal."""

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def show_logs(verbosity: int) -> None:
    """Send the package's logs to standard error; more of them for each ``-v``."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
    logger = logging.getLogger("tvm_prune")
    logger.handlers = [handler]
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def update(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, detail=detail)
        if total is not None:
            self._bars.update(self._task, total=total)


class ConsoleProgress:
    """A progress bar for each step, with what is being worked on and an estimate."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, width=None if sys.stderr.isatty() else LOG_WIDTH)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[_Bar]:
        """Show a bar until the step ends."""
        bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
        )
        with bars:
            yield _Bar(bars, bars.add_task(title, total=total, detail=""))

    def say(self, text: str) -> None:
        """Print one fact."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
