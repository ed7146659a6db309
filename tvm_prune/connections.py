"""How boards are reached, what their clocks count, and what a board file has to say for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_prune.errors import BoardError

INSTRUCTIONS = "instructions"
ESTIMATED_CYCLES = "estimated-cycles"

CLOCKS: Mapping[str, Sequence[str]] = {
    "local": ("seconds",),
    "rpc": ("seconds",),
    "qemu-user": (INSTRUCTIONS, ESTIMATED_CYCLES),
    "qemu": (INSTRUCTIONS, ESTIMATED_CYCLES),
    "serial": ("cycles",),
}
"""Clocks that each connection can have, the usual one first."""

CONNECTIONS = tuple(CLOCKS)
SERVED = ("rpc", "qemu-user")
"""Connections to servers that have a key."""


def check_connection(path: Path, data: Mapping[str, Any]) -> None:
    """Check that a board file says what its connection needs, and nothing else.

    Raises:
        BoardError: if it does not.
    """
    connection, key = data["connection"], data.get("rpc", {}).get("key")
    if (connection in SERVED) != bool(key):
        raise BoardError(
            f"The board file {path} says `connection` = '{connection}' and `rpc.key` = {key!r}; "
            "a board has a key, the name of its servers at the tracker, where its connection is "
            f"one of {', '.join(SERVED)}, and only there."
        )
    cpu = data.get("emulator", {}).get("cpu")
    if (connection == "qemu-user") != bool(cpu):
        raise BoardError(
            f"The board file {path} says `connection` = '{connection}' and `emulator.cpu` = "
            f"{cpu!r}; a board has that where its connection is qemu-user, and only there."
        )


def check_clock(path: Path, data: Mapping[str, Any]) -> None:
    """Check that a board file names a clock that its connection has.

    Raises:
        BoardError: if it does not.
    """
    allowed = CLOCKS[data["connection"]]
    clock = data.get("measure", {}).get("clock", allowed[0])
    if clock == "seconds" and data["connection"].startswith("qemu"):
        raise BoardError(
            f"The board file {path} says `measure.clock` = 'seconds', but the board is emulated: "
            "the time that an emulator takes says nothing about the time that a processor takes, "
            f"not even which of two schedules is faster. Allowed: {', '.join(allowed)}."
        )
    check_choice(path, "measure.clock", clock, allowed)


def check_measure(path: Path, data: Mapping[str, Any]) -> None:
    """Check how a board file wants code to be measured.

    Raises:
        BoardError: if that cannot be done.
    """
    measure = data.get("measure", {})
    cooldown, cores = measure.get("cooldown", 0.0), measure.get("cores", [])
    if cooldown < 0:
        raise BoardError(
            f"The board file {path} says `measure.cooldown` = {cooldown:g}; it must not "
            "be negative."
        )
    if not all(type(core) is int and core >= 0 for core in cores) or len({*cores}) < len(cores):
        raise BoardError(
            f"The board file {path} says `measure.cores` = {cores}; it must be the numbers of "
            "different cores, for example [4, 5]."
        )
    if cores and data["connection"] not in SERVED:
        raise BoardError(
            f"The board file {path} says `connection` = '{data['connection']}' and "
            f"`measure.cores` = {cores}; cores are chosen where the connection is one of "
            f"{', '.join(SERVED)}, and only there."
        )
    count = data["target"].get("num-cores")
    if cores and count is not None and count != len(cores):
        raise BoardError(
            f"The board file {path} says `target.num-cores` = {count} and `measure.cores` = "
            f"{cores}; give as many cores as there are threads."
        )


def check_choice(path: Path, key: str, value: str, allowed: Sequence[str]) -> None:
    """Check a value of which there are only some.

    Raises:
        BoardError: if it is none of them.
    """
    if value not in allowed:
        raise BoardError(
            f"The board file {path} says `{key}` = '{value}'; allowed: {', '.join(allowed)}."
        )
