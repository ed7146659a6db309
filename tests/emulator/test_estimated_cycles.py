"""Emulated boards whose clock counts estimated cycles."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tvm
from support.emulated import COUNTS, KEY, LINKER, kernel, session, target

from tvm_prune.connections import ESTIMATED_CYCLES
from tvm_prune.cycles import Processor
from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import MeasureError
from tvm_prune.measure.clocks import CLOCKS
from tvm_prune.measure.terms import SessionTerms

CPU = "cortex-a72"
TERMS = SessionTerms(ESTIMATED_CYCLES, Processor.of_target(target(CPU)))

TIMES = 1000
LOOP = """
    .text
    .globl __tvm_ffi_main
    .type __tvm_ffi_main, %function
__tvm_ffi_main:
    mov w9, #{times}
1:  {body}
    subs w9, w9, #1
    b.ne 1b
    mov w0, #0
    ret
"""
CHAIN = "\n".join(["fmul s0, s0, s1"] * 4)
FREE = "\n".join(f"fmul s{number}, s8, s9" for number in range(4))
CHAIN_CYCLES, FREE_CYCLES = 20, 2
"""Of one turn: four latencies of five cycles; six instructions, of which three start at once."""


@pytest.fixture(scope="module")
def board():
    started = EmulatedBoard(CPU, KEY, clock=ESTIMATED_CYCLES)
    yield started
    started.close()


def loop(body: str, folder: Path, times: int = TIMES) -> Path:
    """A library whose ``main`` does nothing but a loop."""
    source, library = folder / "loop.s", folder / "loop.so"
    source.write_text(LOOP.format(body=body, times=times))
    command = [LINKER, "-shared", "-nostdlib", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def cycles(board: EmulatedBoard, library: Path) -> float:
    """Estimated cycles of a call, by TVM's own timer."""
    with session(board) as ours:
        TERMS.begin(ours)
        TERMS.upload(ours, str(library), library.name)
        module = ours.load_module(library.name)
        tensor = tvm.runtime.tensor(np.zeros(64, "float32"), ours.cpu())
        seconds = module.time_evaluator("main", ours.cpu(), number=1)(tensor).mean
    return CLOCKS[ESTIMATED_CYCLES].cost(seconds)


def test_loops_of_equal_length_cost_what_their_dependences_make_them_cost(
    board: EmulatedBoard, tmp_path: Path
) -> None:
    chain, free = (cycles(board, loop(body, tmp_path)) for body in (CHAIN, FREE))
    assert chain - free == TIMES * (CHAIN_CYCLES - FREE_CYCLES)
    assert free == pytest.approx(TIMES * FREE_CYCLES, abs=10)


def test_twice_the_turns_cost_twice_the_cycles(board: EmulatedBoard, tmp_path: Path) -> None:
    once, twice = (cycles(board, loop(CHAIN, tmp_path, times)) for times in (TIMES, 2 * TIMES))
    assert twice - once == TIMES * CHAIN_CYCLES


def test_costs_are_the_same_in_every_session_and_on_every_board(
    board: EmulatedBoard, tmp_path: Path
) -> None:
    library = kernel(COUNTS, tmp_path)
    other = EmulatedBoard(CPU, KEY, clock=ESTIMATED_CYCLES)
    try:
        costs = {cycles(each, library) for each in (board, board, other)}
    finally:
        other.close()
    [cost] = costs
    assert 64 / 8 < cost < 64 * 20


def test_calls_of_the_math_library_have_costs(board: EmulatedBoard, tmp_path: Path) -> None:
    statement = (
        "for i in range(64):\n"
        '                result[i] = T.call_extern("float32", "{function}", result[i])'
    )
    costs = {}
    for function in ("truncf", "tanhf"):
        library = kernel(statement.replace("{function}", function), tmp_path)
        costs[function] = cycles(board, library)
    assert costs["tanhf"] > costs["truncf"] + 64 * 5


def test_a_library_of_unknown_costs_is_not_loaded(board: EmulatedBoard, tmp_path: Path) -> None:
    library = kernel(COUNTS, tmp_path)
    with session(board) as ours:
        ours.upload(str(library), library.name)
        with pytest.raises(Exception, match=r"nothing tells the costs of .*kernel\.so"):
            ours.load_module(library.name)


def test_costs_that_cannot_be_read_end_the_session(board: EmulatedBoard, tmp_path: Path) -> None:
    library, costs = kernel(COUNTS, tmp_path), tmp_path / "costs"
    costs.write_bytes(b"cycles01 and nothing more")
    with session(board) as ours:
        ours.upload(str(costs), f"{library.name}.costs")
        ours.upload(str(library), library.name)
        with pytest.raises(Exception, match="session on the board ended"):
            ours.load_module(library.name)
    assert "tells no costs" in board.log.read_text()


def test_a_server_with_another_clock_or_processor_is_refused(board: EmulatedBoard) -> None:
    counting = EmulatedBoard("cortex-a53", KEY)
    try:
        with session(counting) as ours:
            refusal = "counts instructions, but its board is measured in estimated cycles"
            with pytest.raises(MeasureError, match=refusal):
                TERMS.begin(ours)
    finally:
        counting.close()
    with session(board) as ours:
        with pytest.raises(MeasureError, match="counts estimated cycles"):
            SessionTerms("instructions").begin(ours)
        other = SessionTerms(ESTIMATED_CYCLES, Processor.of_target(target("cortex-a53")))
        with pytest.raises(MeasureError, match="of a cortex-a72, but its board is a cortex-a53"):
            other.begin(ours)
