"""Boards that are folders: what their files say, and what is missing is told."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from tvm_prune.board import Board, board_names, load_board
from tvm_prune.errors import BoardError
from tvm_prune.mcu.firmware import LINKER_SCRIPT, firmware_files

ROOT = Path(__file__).parent.parent
MICROCONTROLLERS = [name for name in board_names() if load_board(name).is_microcontroller]
UNITS = {"K": 1 << 10, "M": 1 << 20}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a shipped board's folder."""
    return Path(shutil.copytree(ROOT / "targets" / "mps2-an500", tmp_path / "mine"))


def regions(board: Board) -> dict[str, int]:
    """Bytes of the memory regions of a board's linker script."""
    script = firmware_files(board)[LINKER_SCRIPT].decode()
    found = re.findall(r"(\w+) \(\w+\) : ORIGIN = \w+, LENGTH = (\d+)([KM])", script)
    return {name: int(size) * UNITS[unit] for name, size, unit in found}


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_the_board_file_and_the_linker_script_agree_on_the_sizes_of_memories(name: str) -> None:
    board = load_board(name)
    sizes = regions(board)
    assert (sizes["FLASH"], sizes["RAM"]) == (board.flash, board.ram)


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_a_microcontroller_has_firmware_for_its_own_connection_only(name: str) -> None:
    board = load_board(name)
    files = firmware_files(board)
    assert {"main.c", "startup.c", "board.c", "board.h", LINKER_SCRIPT} <= set(files)
    streams = {name for name in files if name.startswith("stream_")}
    wanted = {"qemu": "stream_semihosting.c", "serial": "stream_uart.c"}[board.connection]
    assert streams == {wanted}


def test_a_board_without_firmware_parts_has_no_firmware() -> None:
    with pytest.raises(BoardError, match="'host' is no microcontroller"):
        firmware_files(load_board("host"))


def test_a_folder_of_ones_own_is_read_by_path(folder: Path) -> None:
    board = load_board(str(folder))
    assert board == dataclasses.replace(load_board("mps2-an500"), folder=folder)
    assert board == load_board(str(folder / "board.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('machine = "mps2-an500"', "", ["lacks `qemu.machine`", "'qemu'"]),
        ('compiler = "arm-none-eabi-gcc"', "", ["lacks `toolchain.compiler`"]),
        ("flash = 4194304", "", ["lacks `flash`"]),
        ("ram = 4194304 ", "", ["lacks `ram`"]),
        ('"-mthumb"', "1", ["`toolchain.flags`", "1", "strings"]),
        ("machine =", "mashine =", ["`qemu.mashine`", "Did you mean `qemu.machine`"]),
        ('connection = "qemu"', 'connection = "qemu"\nclock_hz = "1 MHz"', ["`clock_hz`", "int"]),
        ("[qemu]", '[measure]\nclock = "seconds"\n[qemu]', ["'seconds'", "instructions"]),
    ],
)
def test_a_malformed_microcontroller_is_refused(
    old: str, new: str, said: list[str], folder: Path
) -> None:
    path = folder / "board.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(BoardError) as caught:
        load_board(str(folder))
    for words in [str(path), *said]:
        assert words in str(caught.value)


@pytest.mark.parametrize("part", ["board.c", "memory.ld"])
def test_a_missing_firmware_part_is_named(part: str, folder: Path) -> None:
    (folder / part).unlink()
    with pytest.raises(BoardError, match=f"{part} does not lie beside it"):
        load_board(str(folder))


@pytest.mark.parametrize(
    "change", [{"machine": "mps2-an386"}, {"flags": ("-mcpu=cortex-m4",)}, {"clock_hz": 1}]
)
def test_measurements_of_different_microcontrollers_are_kept_apart(
    change: dict[str, object],
) -> None:
    board = load_board("mps2-an500")
    assert dataclasses.replace(board, **change).fingerprint != board.fingerprint
    elsewhere = dataclasses.replace(board, folder=Path("elsewhere"))
    assert elsewhere.fingerprint == board.fingerprint
