"""Boards: devices we can build for and measure on, one TOML file each."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm.target import codegen

from tvm_prune.connections import (
    CLOCKS,
    CONNECTIONS,
    check_choice,
    check_clock,
    check_connection,
)
from tvm_prune.errors import BoardError
from tvm_prune.machine import core_count, cpu_name, governor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).parent

FIELDS: Mapping[str, tuple[type, bool]] = {
    "name": (str, True),
    "description": (str, True),
    "connection": (str, True),
    "target": (dict, True),
    "rpc": (dict, False),
    "emulator": (dict, False),
    "toolchain": (dict, False),
    "measure": (dict, False),
    "flash": (int, False),
    "ram": (int, False),
    "clock_hz": (int, False),
}
"""Keys of a board file: their type, and whether they must be given."""

TABLES: Mapping[str, Mapping[str, type]] = {
    "rpc": {"key": str, "tracker": str},
    "emulator": {"cpu": str, "boards": int},
    "toolchain": {"linker": str},
    "measure": {"clock": str, "repeats": int},
}
"""Keys of the tables of a board file, none of which must be given where the table is not."""

_OF_A_TAG = ("kind", "mtriple", "mcpu", "mattr", "mfloat-abi", "num-cores")
"""What a board's target takes from TVM's tag; the rest is derived."""


@dataclass(frozen=True)
class Board:
    """A device to build for and measure on.

    Attributes:
        name: short name, as given to ``--board``.
        description: one line for people.
        connection: how it is reached; ``local`` is this machine, ``rpc`` a server of TVM's,
            ``qemu-user`` such a server under QEMU.
        target: TVM target as a dictionary.
        key: what the board's servers are called at the tracker; there may be several.
        tracker: ``HOST:PORT`` of the tracker, where the file says it.
        linker: compiler driver that links code for the board; this machine's by default.
        clock: unit of its measurements.
        repeats: measurements of one kernel, each long enough for the clock.
        flash: bytes of flash, where that is a limit.
        ram: bytes of RAM, where that is a limit.
        emulated_cpu: what QEMU calls the processor, where the board is emulated.
        boards: emulated boards that are started at once.
    """

    name: str
    description: str
    connection: str
    target: Mapping[str, Any]
    key: str | None = None
    tracker: str | None = None
    linker: str | None = None
    clock: str = "seconds"
    repeats: int = 5
    flash: int | None = None
    ram: int | None = None
    emulated_cpu: str | None = None
    boards: int = 1

    def tvm_target(self) -> Any:
        """The TVM target.

        Raises:
            BoardError: if TVM does not know it.
        """
        try:
            return tvm.target.Target(dict(self.target))
        except (ValueError, TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise BoardError(f"Board '{self.name}': TVM refuses its target: {reason}") from error

    @property
    def cpu(self) -> str:
        """What its processor is called."""
        if self.emulated_cpu is not None:
            return f"{self.emulated_cpu}, emulated"
        if self.connection == "local":
            return cpu_name()
        return str(self.target.get("mcpu") or self.target.get("mtriple") or self.target["kind"])

    @property
    def fingerprint(self) -> str:
        """Identifies what measurements depend on: target, machine, clock and TVM version.

        Of this machine that is the CPU, the number of its cores, and what sets their frequency;
        boards that are reached otherwise are the same where their keys are.
        """
        local = self.connection == "local"
        identity = {
            "target": dict(self.target),
            "key": self.key,
            "cpu": cpu_name() if local else None,
            "cores": core_count() if local else None,
            "governor": (governor() or "unknown") if local else None,
            "clock": self.clock,
            "tvm": tvm.__version__,
        }
        if self.emulated_cpu is not None:
            identity["emulated_cpu"] = self.emulated_cpu
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def load_board(name_or_path: str) -> Board:
    """Find a board by name among the shipped ones, or read a board file.

    Raises:
        BoardError: if there is no such board, or its file is malformed.
    """
    if name_or_path.endswith(".toml") or os.sep in name_or_path:
        return _read(Path(name_or_path))
    path = _directory() / f"{name_or_path}.toml"
    if not path.exists():
        names = board_names()
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise BoardError(
            f"There is no board '{name_or_path}'; known boards: {', '.join(names)}.{hint} "
            "A board of your own is given as a path: --board ./my-board.toml."
        )
    return _read(path)


def board_names() -> list[str]:
    """Names of the boards that come with the package."""
    return sorted(path.stem for path in _directory().glob("*.toml"))


def host_cpu() -> str:
    """LLVM's name of this machine's CPU."""
    return str(codegen.llvm_get_system_cpu())


def _directory() -> Path:
    """Board files lie in the installed package, or at the root of a checkout."""
    installed = PACKAGE / "targets"
    return installed if installed.is_dir() else PACKAGE.parent / "targets"


def _read(path: Path) -> Board:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BoardError(f"Cannot read the board file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"The board file {path} is not valid TOML: {error}.") from error
    _check(path, data)
    measure, rpc, emulator = (data.get(name, {}) for name in ("measure", "rpc", "emulator"))
    return Board(
        name=data["name"],
        description=data["description"],
        connection=data["connection"],
        target=_complete(data["target"]),
        key=rpc.get("key"),
        tracker=rpc.get("tracker"),
        linker=data.get("toolchain", {}).get("linker"),
        clock=measure.get("clock", CLOCKS[data["connection"]][0]),
        repeats=measure.get("repeats", 5),
        flash=data.get("flash"),
        ram=data.get("ram"),
        emulated_cpu=emulator.get("cpu"),
        boards=emulator.get("boards", 1),
    )


def _check(path: Path, data: Mapping[str, Any]) -> None:
    types = {key: kind for key, (kind, _) in FIELDS.items()}
    _check_keys(path, data, types)
    for key, (_, required) in FIELDS.items():
        if required and key not in data:
            raise BoardError(f"The board file {path} lacks `{key}`.")
    for table, fields in TABLES.items():
        _check_keys(path, data.get(table, {}), fields, f"{table}.")
    check_choice(path, "connection", data["connection"], CONNECTIONS)
    check_connection(path, data)
    check_clock(path, data)
    for table, key in (("measure", "repeats"), ("emulator", "boards")):
        number = data.get(table, {}).get(key, 1)
        if number < 1:
            raise BoardError(
                f"The board file {path} says `{table}.{key}` = {number}; it must be at least 1."
            )


def _check_keys(
    path: Path, data: Mapping[str, Any], types: Mapping[str, type], prefix: str = ""
) -> None:
    for key, value in data.items():
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f" Did you mean `{prefix}{close[0]}`?" if close else ""
            raise BoardError(
                f"The board file {path} has an unknown key `{prefix}{key}`; "
                f"allowed: {', '.join(types)}.{hint}"
            )
        if type(value) is not types[key]:
            raise BoardError(
                f"The board file {path} gives `{prefix}{key}` as {type(value).__name__} "
                f"({value!r}); it must be {types[key].__name__}."
            )


def _complete(target: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a target asks for: what TVM's tag says, or LLVM about this machine."""
    complete = {key: value for key, value in target.items() if key not in ("detect", "tag")}
    if "tag" in target:
        complete = _tagged(str(target["tag"])) | complete
    if target.get("detect"):
        complete.setdefault("mtriple", str(codegen.llvm_get_system_triple()))
        complete.setdefault("mcpu", host_cpu())
        complete.setdefault("num-cores", core_count())
    return complete


def _tagged(tag: str) -> dict[str, Any]:
    """What one of TVM's target tags stands for.

    Raises:
        BoardError: if TVM does not know the tag.
    """
    try:
        known = json.loads(str(tvm.target.Target(tag)))
    except (ValueError, TypeError, RuntimeError) as error:
        raise BoardError(
            f"TVM has no target tag '{tag}'; describe the target in the [target] table instead."
        ) from error
    return {key: known[key] for key in _OF_A_TAG if key in known}
