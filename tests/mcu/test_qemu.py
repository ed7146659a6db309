"""Firmware under QEMU: right outputs, exact counts, and failures that are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import hand_written as small
import numpy as np
import pytest

from tvm_prune.board import board_names, load_board
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu import firmware as firmware_module
from tvm_prune.mcu.dialogue import describe, profile_model, run_model, time_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink

EMULATED = [name for name in board_names() if load_board(name).connection == "qemu"]
SERIAL = [name for name in board_names() if load_board(name).connection == "serial"]
each_board = pytest.mark.parametrize("name", EMULATED)
Linked = Callable[..., QemuLink]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts of each board's firmware are compiled once."""
    return tmp_path_factory.mktemp("parts")


@pytest.fixture
def linked(parts: Path, tmp_path: Path) -> Linked:
    def link(name: str, body: str, profile: bool = False, timeout: float = 60.0) -> QemuLink:
        board = load_board(name)
        builder = FirmwareBuilder(board, parts / name)
        elf = builder.build(small.c_model(body), tmp_path / "model", profile=profile)
        return QemuLink(
            str(board.machine), elf, lambda address: builder.function_at(elf, address), timeout
        )

    return link


@each_board
def test_a_firmware_runs_its_model_on_every_input(name: str, linked: Linked) -> None:
    link = linked(name, small.TWICE_PLUS_ONE)
    inputs = [{"x": np.linspace(-scale, 3, small.LENGTH, dtype="float32")} for scale in (1, 9)]
    report = run_model(link, small.INPUTS, small.OUTPUTS, inputs)
    for given, (output,) in zip(inputs, report.outputs, strict=True):
        np.testing.assert_array_equal(output, 2 * given["x"] + 1)
    assert report.unit == "instructions"
    description = describe(link)
    assert (description.name, description.kernels) == ("small", 2)
    assert (description.inputs, description.outputs) == ((1200,), (1200,))


@each_board
@pytest.mark.parametrize("turns", [1, 10, 123_456])
def test_counts_of_instructions_are_exact(name: str, turns: int, linked: Linked) -> None:
    link = linked(name, small.COUNTED_LOOP % turns)
    runs = time_model(link, small.INPUTS, rounds=3)
    returned = 1  # the empty run that is subtracted returns too
    assert set(runs.costs) == {2 * turns + 2 - returned}
    assert time_model(link, small.INPUTS).costs == runs.costs[:1]


@each_board
def test_the_costs_of_kernels_make_up_the_cost_of_the_model(name: str, linked: Linked) -> None:
    plain = time_model(linked(name, small.TWICE_PLUS_ONE), small.INPUTS)
    link = linked(name, small.TWICE_PLUS_ONE, profile=True)
    report = profile_model(link, small.INPUTS, kernels=2)
    assert all(cost > 250 for cost in report.kernels)
    assert abs(sum(report.kernels) - plain.costs[0]) < 40


@each_board
def test_the_deepest_stack_is_told(name: str, linked: Linked) -> None:
    shallow = time_model(linked(name, small.DEEP_STACK % 64), small.INPUTS).stack
    deep = time_model(linked(name, small.DEEP_STACK % 4064), small.INPUTS).stack
    assert deep - shallow == 4000


@each_board
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (small.BAD_ADDRESS, r"in reads_nowhere: bus error.*at address 0x50505050"),
        (small.UNDEFINED, r"in model_run: undefined instruction"),
        (small.ENDLESS_RECURSION, r"stack overflow"),
    ],
)
def test_a_fault_is_told_with_its_place_and_cause(
    name: str, body: str, said: str, linked: Linked
) -> None:
    with pytest.raises(MeasureError, match=said):
        time_model(linked(name, body), small.INPUTS)


def test_a_firmware_that_does_not_end_is_killed(linked: Linked) -> None:
    link = linked("mps2-an500", small.FOREVER, timeout=1.0)
    with pytest.raises(MeasureError, match="did not finish within 1 s and was killed"):
        time_model(link, small.INPUTS)


def test_inputs_that_do_not_fit_are_refused_by_the_firmware(linked: Linked) -> None:
    link = linked("mps2-an500", small.TWICE_PLUS_ONE)
    for request in (("W", bytes(7)), ("W", bytes([1, 0, 0, 0, 0, 0, 0, 0, 1]))):
        with pytest.raises(MeasureError, match="refuses: no such part of an input"):
            link.exchange([request])
    with pytest.raises(MeasureError, match="refuses: no such part of an output"):
        link.exchange([("O", (1200).to_bytes(4, "little") * 3)])
    with pytest.raises(MeasureError, match="refuses: unknown request"):
        link.exchange([("?", b"")])


def test_memory_is_counted_from_the_firmware_itself(parts: Path, tmp_path: Path) -> None:
    builder = FirmwareBuilder(load_board("mps2-an500"), parts / "mps2-an500")
    table = "const unsigned char table[%d] = {1};\nvolatile unsigned char sink;\n"
    body = table + small.TWICE_PLUS_ONE.replace("{", "{ sink = table[sink];", 1)
    memories = [
        builder.memory(builder.build(small.c_model(body % size), tmp_path / str(size)))
        for size in (1000, 9000)
    ]
    assert memories[1].flash - memories[0].flash == 8000
    assert memories[1].ram == memories[0].ram > 8000


def test_what_does_not_fit_the_board_is_refused_by_the_linker(parts: Path, tmp_path: Path) -> None:
    builder = FirmwareBuilder(load_board("mps2-an500"), parts / "mps2-an500")
    body = "volatile char large[5000000];" + small.TWICE_PLUS_ONE.replace("{", "{ large[0] = 1;", 1)
    with pytest.raises(MeasureError, match=r"RAM.*overflowed"):
        builder.build(small.c_model(body), tmp_path / "large")


def test_a_missing_compiler_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    builder = FirmwareBuilder(load_board("mps2-an500"), tmp_path / "parts")
    with pytest.raises(BoardError, match="apt-get install gcc-arm-none-eabi libnewlib"):
        builder.build(small.c_model(small.TWICE_PLUS_ONE), tmp_path / "model")
    assert firmware_module.how_to_install("qemu-system-arm") == "apt-get install qemu-system-arm"


def test_a_missing_emulator_is_named_with_the_command_that_installs_it(
    linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = linked("mps2-an500", small.TWICE_PLUS_ONE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match="apt-get install qemu-system-arm"):
        describe(link)


@pytest.mark.parametrize("name", SERIAL)
def test_the_firmware_of_boards_that_are_not_here_builds_without_a_warning(
    name: str, tmp_path: Path
) -> None:
    board = load_board(name)
    strict = dataclasses.replace(board, flags=(*board.flags, "-Werror", "-Wextra"))
    builder = FirmwareBuilder(strict, tmp_path / "parts")
    elf = builder.build(small.c_model(small.TWICE_PLUS_ONE), tmp_path / "model")
    memory = builder.memory(elf)
    assert 1000 < memory.flash < 10_000
    assert 8192 < memory.ram < 20_000
