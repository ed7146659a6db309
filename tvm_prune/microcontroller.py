"""What the board file of a microcontroller says, and the firmware parts that lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_prune.errors import BoardError

CONNECTIONS = ("qemu", "serial")

FIRMWARE_PARTS = ("board.c", "memory.ld")
"""Files that lie beside the board file."""

BAUD = 115_200

TABLES: Mapping[str, Mapping[str, type]] = {
    "qemu": {"machine": str},
    "serial": {"port": str, "usb": str, "baud": int, "flasher": list},
}
"""Keys of the tables that only microcontrollers have."""


def microcontroller_fields(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a :class:`~tvm_prune.board.Board` that only microcontrollers have.

    Args:
        path: the board file.
        data: its content; the types of its values are right.

    Raises:
        BoardError: if something that its firmware is built from is missing.
    """
    if data["connection"] not in CONNECTIONS:
        return {}
    toolchain, serial = data.get("toolchain", {}), data.get("serial", {})
    _check(path, data, toolchain)
    return {
        "folder": path.parent,
        "compiler": toolchain["compiler"],
        "flags": _strings(path, "toolchain.flags", toolchain["flags"]),
        "machine": data.get("qemu", {}).get("machine"),
        "port": serial.get("port"),
        "usb": serial.get("usb"),
        "baud": serial.get("baud", BAUD),
        "flasher": _strings(path, "serial.flasher", serial.get("flasher", [])),
    }


def _check(path: Path, data: Mapping[str, Any], toolchain: Mapping[str, Any]) -> None:
    given = {key: data.get(key) for key in ("flash", "ram")}
    given |= {f"toolchain.{key}": toolchain.get(key) for key in ("compiler", "flags")}
    if data["connection"] == "qemu":
        given["qemu.machine"] = data.get("qemu", {}).get("machine")
    lacking = [key for key, value in given.items() if not value]
    if lacking:
        raise BoardError(
            f"The board file {path} lacks `{lacking[0]}`, which a board with `connection` = "
            f"'{data['connection']}' needs; see targets/mps2-an500/board.toml for an example."
        )
    absent = [name for name in FIRMWARE_PARTS if not (path.parent / name).is_file()]
    if absent:
        raise BoardError(
            f"The board file {path} describes a microcontroller, but {absent[0]} does not lie "
            f"beside it; its firmware needs {' and '.join(FIRMWARE_PARTS)}."
        )


def _strings(path: Path, key: str, values: list[Any]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise BoardError(
                f"The board file {path} gives `{key}` an entry {value!r}; all must be strings."
            )
    return tuple(values)
