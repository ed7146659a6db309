"""Estimated cycles of firmware: what instructions cost, as often as they are executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hand_written as small
import pytest

from tvm_prune.board import load_board
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu.dialogue import describe, profile_model, time_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.measure.qemu import estimating_link, qemu_link

TURNS = 1000
LOOP = """
__attribute__((naked)) void model_run(void)
{
    __asm__ volatile("ldr r0, =%d\\n\\t1: %s\\n\\tsubs r0, r0, #1\\n\\tbgt 1b\\n\\tbx lr");
}
"""
DEPENDENT = "\\n\\t".join(["vmul.f32 s0, s0, s1"] * 4)
DIVISIONS = "\\n\\t".join(f"vdiv.f32 s{n}, s8, s9" for n in range(4))
INDEPENDENT = "\\n\\t".join(f"vmul.f32 s{n}, s8, s9" for n in range(4))

Opened = Callable[[str, str], tuple[int, int]]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Instructions and estimated cycles of a model."""
    folder = tmp_path_factory.mktemp("cycles")

    def of(board_name: str, body: str) -> tuple[int, int]:
        board = load_board(board_name)
        builder = FirmwareBuilder(board, folder / board_name)
        elf = builder.build(small.c_model(body), folder / f"{board_name}-{abs(hash(body))}")
        counted = time_model(qemu_link(board)(elf, builder), small.INPUTS, rounds=3)
        estimated = time_model(estimating_link(board)(elf, builder), small.INPUTS, rounds=3)
        assert counted.unit == "instructions"
        assert estimated.unit == "estimated cycles"
        assert len(set(estimated.costs)) == 1
        assert estimated.stack == counted.stack
        return counted.costs[0], estimated.costs[0]

    return of


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an500", "mps3-an547"])
def test_divisions_take_longer_than_multiplications(board: str, costs: Opened) -> None:
    fast, slow = (costs(board, LOOP % (TURNS, body)) for body in (INDEPENDENT, DIVISIONS))
    assert fast[0] == slow[0] == 6 * TURNS + 1
    assert slow[1] >= fast[1] + 10 * TURNS


def test_what_waits_for_a_result_takes_longer_where_a_pipeline_is_deep(costs: Opened) -> None:
    dependent, independent = (
        costs("mps2-an500", LOOP % (TURNS, body)) for body in (DEPENDENT, INDEPENDENT)
    )
    assert dependent[0] == independent[0]
    assert dependent[1] >= independent[1] + 3 * TURNS


def test_cycles_grow_with_the_turns_of_a_loop(costs: Opened) -> None:
    few, many = (costs("mps2-an500", LOOP % (turns, DEPENDENT))[1] for turns in (TURNS, 3 * TURNS))
    assert many - 3 * few == pytest.approx(0, abs=100)


def test_data_between_the_code_is_no_code(costs: Opened) -> None:
    """These bytes would begin a comment that goes on to the end."""
    loop = LOOP % (TURNS, DEPENDENT)
    table = 'const char table[] = "%s"; const char *volatile used = table;\n' % ("/* //*/ /*" * 99)
    assert costs("mps2-an500", table + loop) == costs("mps2-an500", loop)


def test_a_firmware_that_estimates_still_tells_what_it_is(tmp_path: Path) -> None:
    board = load_board("mps2-an500")
    builder = FirmwareBuilder(board, tmp_path / "parts")
    elf = builder.build(small.c_model(small.TWICE_PLUS_ONE), tmp_path / "model", profile=True)
    link = estimating_link(board)(elf, builder)
    description = describe(link)
    assert (description.name, description.unit) == ("small", "estimated cycles")
    with pytest.raises(MeasureError, match="whole models, not kernel by kernel"):
        profile_model(link, small.INPUTS, kernels=2)


def test_missing_tools_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("mps2-an500")
    builder = FirmwareBuilder(board, tmp_path / "parts")
    elf = builder.build(small.c_model(small.TWICE_PLUS_ONE), tmp_path / "model")
    link = estimating_link(board)(elf, builder)
    monkeypatch.setenv("PATH", _without_llvm(tmp_path))
    with pytest.raises(BoardError, match=r"llvm-\w+ is not installed.*apt-get install"):
        time_model(link, small.INPUTS)


def _without_llvm(tmp_path: Path) -> str:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("qemu-system-arm", "arm-none-eabi-nm", "cc"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    return str(tools)
