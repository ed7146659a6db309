"""The serial protocol, over the UART of an emulated board, with faults on the line."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import string
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import hand_written as small
import numpy as np
import pytest

from tvm_prune.board import Board, load_board
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu.dialogue import describe, run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import EMULATOR
from tvm_prune.mcu.serial_link import SerialLink
from tvm_prune.measure.serial import PORT_VARIABLE, find_port, flash

INPUT = np.linspace(-1, 1, small.LENGTH, dtype="float32")
Bytes = Callable[[bytes], bytes]


def unchanged(data: bytes) -> bytes:
    return data


class Once:
    """Does something to the stream when so many bytes have passed, and never again."""

    def __init__(self, after: int, change: Bytes) -> None:
        self.left, self.change = after, change

    def __call__(self, data: bytes) -> bytes:
        before, self.left = self.left, self.left - len(data)
        if before < 0 or self.left >= 0:
            return data
        return data[:before] + self.change(data[before:])


class FirstOfEach:
    """Lets the first few bytes of every burst through."""

    def __init__(self, count: int) -> None:
        self.count, self.passed, self.last = count, 0, 0.0

    def __call__(self, data: bytes) -> bytes:
        now = time.monotonic()
        self.passed = self.passed if now - self.last < 0.1 else 0
        self.last = now
        through = data[: max(0, self.count - self.passed)]
        self.passed += len(data)
        return through


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 0x10]) + data[1:]


def all_flipped(data: bytes) -> bytes:
    """A bit of every small letter; what starts a frame has none."""
    return bytes(byte ^ 4 if chr(byte) in string.ascii_lowercase else byte for byte in data)


def dropped(data: bytes) -> bytes:
    return data[9:]


def nothing(_data: bytes) -> bytes:
    return b""


class Line:
    """A line between a board and whoever connects last, which may spoil what it carries."""

    def __init__(self, board: socket.socket) -> None:
        self.board = board
        self.user: socket.socket | None = None
        self.to_board: Bytes = unchanged
        self.from_board: Bytes = unchanged
        self.server = socket.create_server(("127.0.0.1", 0))
        for carry in (self._carry_to_board, self._carry_from_board):
            threading.Thread(target=carry, daemon=True).start()

    @property
    def url(self) -> str:
        return f"socket://127.0.0.1:{self.server.getsockname()[1]}"

    def _carry_to_board(self) -> None:
        while True:
            self.user, _ = self.server.accept()
            with suppress(OSError):
                while data := self.user.recv(4096):
                    self.board.sendall(self.to_board(data))

    def _carry_from_board(self) -> None:
        with suppress(OSError):
            while data := self.board.recv(4096):
                with suppress(OSError):
                    if self.user is not None:
                        self.user.sendall(self.from_board(data))


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def board() -> Board:
    """An emulated board, but reached through its serial port."""
    return dataclasses.replace(load_board("mps2-an500"), connection="serial", clock="cycles")


@pytest.fixture(scope="module")
def line_to(
    board: Board, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Line]]:
    """Lines to emulated boards that run models."""
    folder = tmp_path_factory.mktemp("serial")
    builder = FirmwareBuilder(board, folder / "parts")
    running: list[subprocess.Popen[bytes]] = []

    def line(body: str) -> Line:
        elf = builder.build(small.c_model(body), folder / str(len(running)))
        port = free_port()
        chardev = f"tcp:127.0.0.1:{port},server=on,wait=off"
        command = [
            *("timeout", "600", EMULATOR, "-M", str(board.machine), "-nographic"),
            *("-monitor", "none", "-serial", chardev, "-kernel", str(elf)),
        ]
        running.append(subprocess.Popen(command))
        for _ in range(600):
            with suppress(ConnectionRefusedError):
                return Line(socket.create_connection(("127.0.0.1", port)))
            time.sleep(0.1)
        raise AssertionError("the emulator does not start")

    yield line
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def good_line(line_to: Callable[[str], Line]) -> Line:
    return line_to(small.TWICE_PLUS_ONE)


@pytest.fixture
def line(good_line: Line) -> Iterator[Line]:
    """The line, good again after the test."""
    yield good_line
    good_line.to_board = good_line.from_board = unchanged


def link_to(line: Line) -> SerialLink:
    return SerialLink(line.url, 115_200, silence=1.5, run_timeout=10.0)


def assert_runs(link: SerialLink) -> None:
    report = run_model(link, small.INPUTS, small.OUTPUTS, [{"x": INPUT}, {"x": -INPUT}])
    np.testing.assert_array_equal(report.outputs[0][0], 2 * INPUT + 1)
    np.testing.assert_array_equal(report.outputs[1][0], -2 * INPUT + 1)


def test_a_model_runs_over_a_serial_port_again_and_again(line: Line) -> None:
    link = link_to(line)
    assert describe(link).name == "small"
    for _ in range(3):
        assert_runs(link)
    assert_runs(link_to(line))


@pytest.mark.parametrize("change", [flipped, dropped])
@pytest.mark.parametrize("way", ["to_board", "from_board"])
@pytest.mark.parametrize("after", [20, 1700])
def test_what_is_spoiled_once_is_asked_again(
    way: str, change: Bytes, after: int, line: Line
) -> None:
    setattr(line, way, Once(after, change))
    assert_runs(link_to(line))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing, "is silent: no answer to 3 requests"),
        (FirstOfEach(9), "cut off: .* bytes, but no whole frame"),
        (all_flipped, "garbled: .* wrong checksum"),
    ],
)
def test_a_line_that_stays_bad_is_told(change: Bytes, said: str, line: Line) -> None:
    line.from_board = change
    with pytest.raises(MeasureError, match=said):
        describe(link_to(line))
    line.from_board = unchanged
    assert_runs(link_to(line))


def test_a_fault_is_told_over_the_serial_port_and_the_board_starts_again(
    line_to: Callable[[str], Line],
) -> None:
    link = link_to(line_to(small.UNDEFINED))
    for _ in range(2):
        with pytest.raises(MeasureError, match=r"faulted at .*undefined instruction"):
            run_model(link, small.INPUTS, small.OUTPUTS, [{"x": INPUT}])
        time.sleep(0.5)
        assert describe(link).name == "small"


def test_a_port_that_is_not_there_is_told() -> None:
    with pytest.raises(BoardError, match=r"Cannot open the serial port .*ttyNone"):
        describe(SerialLink("/dev/ttyNone", 115_200))


def test_the_port_is_the_environments_or_the_board_files(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = dataclasses.replace(board, port="socket://127.0.0.1:1")
    assert find_port(named) == "socket://127.0.0.1:1"
    monkeypatch.setenv(PORT_VARIABLE, "socket://127.0.0.1:2")
    assert find_port(named) == "socket://127.0.0.1:2"
    monkeypatch.delenv(PORT_VARIABLE)
    with pytest.raises(BoardError, match=f"No board .*'dead:beef'.*{PORT_VARIABLE}"):
        find_port(dataclasses.replace(board, usb="dead:beef"))


def test_a_firmware_is_flashed_with_the_tool_that_the_board_names(
    board: Board, tmp_path: Path
) -> None:
    elf, copy = tmp_path / "a.elf", tmp_path / "b.elf"
    elf.write_bytes(b"firmware")
    copied = dataclasses.replace(board, flasher=(str(shutil.which("cp")), "{elf}", str(copy)))
    flash(copied, elf)
    assert copy.read_bytes() == b"firmware"
    with pytest.raises(MeasureError, match="cannot stat"):
        flash(copied, tmp_path / "absent.elf")
    with pytest.raises(BoardError, match="st-flash is not installed: apt-get install stlink-tools"):
        flash(dataclasses.replace(board, flasher=("st-flash", "{elf}")), elf)
