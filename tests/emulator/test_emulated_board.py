"""Emulated boards: their clock counts instructions, and they end with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.emulated import COUNTS, FILLS_A_TILE, KEY, cost, kernel, session

from tvm_prune.emulator import EmulatedBoard, check_cpu
from tvm_prune.errors import BoardError


def test_costs_are_instructions_exact_and_the_same_on_every_board(tmp_path) -> None:
    library = kernel(COUNTS, tmp_path)
    costs = []
    for _ in range(2):
        board = EmulatedBoard("cortex-a72", KEY)
        try:
            for _ in range(2):
                with session(board) as ours:
                    costs += [cost(ours, library) for _ in range(2)]
        finally:
            board.close()
    assert len(set(costs)) == 1
    assert 64 / 4 < costs[0] < 64 * 20


def test_costs_do_not_depend_on_how_long_the_environment_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = kernel(FILLS_A_TILE, tmp_path)
    assert b"memset" in library.read_bytes()
    costs = []
    for length in (1, 17, 33, 49):  # the stack begins at multiples of 16
        monkeypatch.setenv("LONG", length * "x")
        board = EmulatedBoard("cortex-a72", KEY)
        try:
            with session(board) as ours:
                costs.append(cost(ours, library))
        finally:
            board.close()
    assert len(set(costs)) == 1


def test_twice_the_calls_are_twice_the_instructions(tmp_path) -> None:
    library = kernel(COUNTS, tmp_path)
    board = EmulatedBoard("cortex-a72", KEY)
    try:
        with session(board) as ours:
            once, often = (cost(ours, library, number=number) for number in (1, 1000))
    finally:
        board.close()
    assert once == pytest.approx(often, rel=1e-9)


def test_a_cpu_that_is_not_emulated_is_refused_with_those_that_are() -> None:
    assert check_cpu("cortex-a53") == "cortex-a53"
    with pytest.raises(BoardError, match=r"no CPU 'cortex-a999'.*cortex-a72"):
        check_cpu("cortex-a999")


def test_a_board_ends_when_its_owner_is_killed() -> None:
    script = (
        "import sys, time; sys.modules['torch'] = None\n"
        "from tvm_prune.emulator import EmulatedBoard\n"
        f"board = EmulatedBoard('cortex-a72', {KEY!r})\n"
        "print(board.process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert owner.stdout is not None
    board = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    for _ in range(200):
        if not _runs(board):
            return
        time.sleep(0.05)
    pytest.fail("the board outlived its owner")


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
