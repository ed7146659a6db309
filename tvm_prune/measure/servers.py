"""The servers of a board: which are free, and which fail too often to be used."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection
from typing import Protocol

from tvm_prune.errors import MeasureError
from tvm_prune.measure.tracker import Server

logger = logging.getLogger(__name__)

_STRIKES = 3
"""Sessions in a row that a server may break before it is set aside."""

_MOMENT = 0.3
"""Seconds in which a server that has ended a session is free again."""


class Finder(Protocol):
    """Knows the servers of a board, as a tracker does."""

    @property
    def place(self) -> str:
        """Where it looks for servers, to follow the words "no server"."""

    @property
    def advice(self) -> str:
        """What to do where none is left."""

    def servers(self) -> list[str]:
        """Names of the servers, free or not.

        Raises:
            MeasureError: if that cannot be told.
        """

    def request(self, patience: float) -> Server | None:
        """A server that nobody else uses, or None where none is free for `patience` seconds.

        Raises:
            MeasureError: if that cannot be told.
        """

    def close(self) -> None:
        """Give up what it holds."""


class Servers:
    """Servers of a board.

    Args:
        tracker: knows them.
        patience: seconds to wait for a first one that is free.
    """

    def __init__(self, tracker: Finder, patience: float) -> None:
        self._tracker = tracker
        self._patience = patience
        self._strikes: Counter[str] = Counter()
        self._aside: dict[str, str] = {}

    def acquire(self, wanted: int, avoid: Collection[str] = ()) -> list[Server]:
        """Up to `wanted` servers, at least one, each for one session.

        Args:
            wanted: most servers to use.
            avoid: servers that are not the first of the result where there are others.

        Raises:
            MeasureError: if no server is left or becomes free, or the tracker does not answer.
        """
        deadline = time.monotonic() + self._patience
        wanted = min(wanted, self.usable())
        servers: list[Server] = []
        while len(servers) < wanted:
            left = deadline - time.monotonic()
            server = self._tracker.request(_MOMENT if servers else max(left, _MOMENT))
            if server is not None and server.name not in self._aside:
                servers.append(server)
            elif servers:
                break
            elif left <= 0:
                raise self._none_left(f"was free within {self._patience:g} s")
        return sorted(servers, key=lambda server: server.name in avoid)

    def trust(self, server: Server) -> None:
        """A session with the server went well."""
        self._strikes.pop(server.name, None)

    def blame(self, server: Server, cause: str) -> None:
        """A session with the server broke; the server is set aside where that goes on."""
        self._strikes[server.name] += 1
        logger.info("the server %s failed: %s", server.name, cause)
        if self._strikes[server.name] >= _STRIKES:
            self._aside[server.name] = cause
            logger.warning(
                "the server %s failed %d times in a row and is set aside: %s",
                server.name,
                _STRIKES,
                cause,
            )

    def usable(self) -> int:
        """Number of servers that are not set aside; waits for a first one to register.

        Raises:
            MeasureError: if there is none, or the tracker does not answer.
        """
        deadline = time.monotonic() + self._patience
        while True:
            names = self._tracker.servers()
            usable = sum(name not in self._aside for name in names)
            if usable:
                return usable
            if names or time.monotonic() >= deadline:
                raise self._none_left("is left" if names else "is registered")
            time.sleep(_MOMENT)

    def _none_left(self, what: str) -> MeasureError:
        aside = "; ".join(f"{name}: {cause}" for name, cause in self._aside.items())
        told = f" Set aside after {_STRIKES} failures in a row: {aside}." if aside else ""
        return MeasureError(
            f"No server {self._tracker.place} {what}.{told} What was measured is kept: "
            f"{self._tracker.advice}, and run the same command to go on."
        )
