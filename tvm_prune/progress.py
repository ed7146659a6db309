"""How long steps tell where they are; the command line shows it, a build script may ignore it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One long step under way."""

    def update(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Tell how much of the step is done, what is being worked on, and a better total."""


class Progress(Protocol):
    """Receives the steps of a run."""

    def step(self, title: str, total: int) -> AbstractContextManager[Step]:
        """Begin a step of `total` parts; leaving the context ends it."""

    def say(self, text: str) -> None:
        """Tell one fact that the user wants to see."""


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Step]:
        """Begin a step."""
        del title, total
        yield self

    def update(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Ignore the update."""

    def say(self, text: str) -> None:
        """Ignore the text."""
