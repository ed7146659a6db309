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

from tvm_prune import microcontroller
from tvm_prune.connections import (
    CLOCKS,
    CONNECTIONS,
    check_choice,
    check_clock,
    check_connection,
    check_measure,
)
from tvm_prune.errors import BoardError
from tvm_prune.machine import core_count, cpu_name, governor
from tvm_prune.target import complete_target
from tvm_prune.units import unit_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).parent
BOARD_FILE = "board.toml"
"""The board file of a board that is a folder."""

FIELDS: Mapping[str, tuple[type, bool]] = {
    "name": (str, True),
    "description": (str, True),
    "connection": (str, True),
    "target": (dict, True),
    "rpc": (dict, False),
    "emulator": (dict, False),
    "qemu": (dict, False),
    "serial": (dict, False),
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
    "toolchain": {"linker": str, "compiler": str, "flags": list},
    "measure": {"clock": str, "repeats": int, "cooldown": float, "cores": list},
    **microcontroller.TABLES,
}
"""Keys of the tables of a board file, none of which must be given where the table is not."""


@dataclass(frozen=True)
class Board:
    """A device to build for and measure on.

    Attributes:
        name: short name, as given to ``--board``.
        description: one line for people.
        connection: how it is reached; ``local`` is this machine, ``rpc`` a server of TVM's,
            ``qemu-user`` such a server under QEMU, ``qemu`` an emulated microcontroller,
            ``serial`` a real one.
        target: TVM target as a dictionary.
        key: what the board's servers are called at the tracker; there may be several.
        tracker: ``HOST:PORT`` of the tracker, where the file says it.
        linker: compiler driver that links code for the board; this machine's by default.
        clock: what its measurements count, from ``connections.CLOCKS``.
        repeats: measurements of one kernel, each long enough for the clock.
        cooldown: seconds of rest before each of them, for boards that get hot.
        cores: numbers of those that sessions run on; any where it is empty.
        flash: bytes of flash, where that is a limit.
        ram: bytes of RAM, where that is a limit.
        emulated_cpu: what QEMU calls the processor, where the board is emulated.
        boards: emulated boards that are started at once.
        clock_hz: frequency of the processor, where it is known.
        folder: where the firmware parts of a microcontroller lie; None for all other boards.
        compiler: C compiler for a microcontroller; its other tools are named alike.
        flags: what this compiler has to know about the processor.
        machine: what QEMU calls the board, for ``qemu``.
        port: serial port, where the file says it.
        usb: ``VENDOR:PRODUCT`` of the board's USB serial port, to find the port with.
        baud: bits a second over the serial port.
        flasher: command that writes ``{elf}`` to the board.
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
    cooldown: float = 0.0
    cores: tuple[int, ...] = ()
    flash: int | None = None
    ram: int | None = None
    emulated_cpu: str | None = None
    boards: int = 1
    clock_hz: int | None = None
    folder: Path | None = None
    compiler: str | None = None
    flags: tuple[str, ...] = ()
    machine: str | None = None
    port: str | None = None
    usb: str | None = None
    baud: int = microcontroller.BAUD
    flasher: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Unit of its measurements."""
        return unit_of(self.clock)

    @property
    def is_microcontroller(self) -> bool:
        """Whether models become firmware for it, not libraries."""
        return self.folder is not None

    @property
    def is_slow(self) -> bool:
        """Whether thousands of samples would take it hours."""
        return self.is_microcontroller or self.emulated_cpu is not None

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
        if self.cores:
            identity["measured_on"] = self.cores
        if self.emulated_cpu is not None:
            identity["emulated_cpu"] = self.emulated_cpu
        if self.is_microcontroller:
            identity |= {"machine": self.machine, "flags": self.flags, "hz": self.clock_hz}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def load_board(name_or_path: str) -> Board:
    """Find a board by name among the shipped ones, or read a board file.

    Raises:
        BoardError: if there is no such board, or its file is malformed.
    """
    if name_or_path.endswith(".toml") or os.sep in name_or_path:
        path = Path(name_or_path)
        return _read(path / BOARD_FILE if path.is_dir() else path)
    found = next((path for path in _files() if _name(path) == name_or_path), None)
    if found is None:
        names = board_names()
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise BoardError(
            f"There is no board '{name_or_path}'; known boards: {', '.join(names)}.{hint} "
            "A board of your own is given as a path: --board ./my-board.toml."
        )
    return _read(found)


def board_names() -> list[str]:
    """Names of the boards that come with the package."""
    return sorted(map(_name, _files()))


def _files() -> list[Path]:
    return [*_directory().glob("*.toml"), *_directory().glob(f"*/{BOARD_FILE}")]


def _name(path: Path) -> str:
    return path.parent.name if path.name == BOARD_FILE else path.stem


def firmware_sources() -> Path:
    """Folder of the firmware sources that all microcontrollers share."""
    return _directory() / "firmware"


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
        target=complete_target(data["target"]),
        key=rpc.get("key"),
        tracker=rpc.get("tracker"),
        linker=data.get("toolchain", {}).get("linker"),
        clock=measure.get("clock", CLOCKS[data["connection"]][0]),
        repeats=measure.get("repeats", 5),
        cooldown=float(measure.get("cooldown", 0.0)),
        cores=tuple(measure.get("cores", ())),
        flash=data.get("flash"),
        ram=data.get("ram"),
        emulated_cpu=emulator.get("cpu"),
        boards=emulator.get("boards", 1),
        clock_hz=data.get("clock_hz"),
        **microcontroller.microcontroller_fields(path, data),
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
    check_measure(path, data)
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
        if type(value) is not types[key] and (type(value), types[key]) != (int, float):
            raise BoardError(
                f"The board file {path} gives `{prefix}{key}` as {type(value).__name__} "
                f"({value!r}); it must be {types[key].__name__}."
            )
