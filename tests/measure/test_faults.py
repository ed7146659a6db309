"""Boards that are killed, stopped and cut off while they measure: nothing hangs, nothing is wrong.

Costs are exact on these boards, so a wrong one would show.
"""

from __future__ import annotations

import contextlib
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import tvm
from support.emulated import KERNEL
from support.rpc_servers import Boards, boards
from tvm.rpc import base

from tvm_prune.board import load_board
from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import MeasureError
from tvm_prune.measure import Repeats, RpcMeasurer
from tvm_prune.measure.terms import SessionTerms
from tvm_prune.measurement import Artifact, Failure, Measurement
from tvm_prune.tuning import Workload, open_database, tune

BOARD = load_board("aarch64-qemu")
SLOW = (
    "for i, j in T.grid(64, 100000):\n                "
    "result[i] = result[i] * T.float32(0.5) + T.float32(1)"
)
KERNELS = 8
RUN_TIMEOUT = 15.0


@dataclass
class Farm:
    """Two emulated boards behind a tracker, and a measurer that uses them."""

    tracked: Boards
    boards: list[EmulatedBoard]
    measurer: RpcMeasurer

    def add_board(self) -> EmulatedBoard:
        board = EmulatedBoard("cortex-a72", self.tracked.key, self.tracked.tracker.name)
        self.boards.append(board)
        return board


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with boards(tmp_path_factory.mktemp("farm"), 0) as tracked:
        measurer = RpcMeasurer(
            BOARD.tvm_target(),
            tracked.tracker,
            terms=SessionTerms("instructions"),
            linker=BOARD.linker,
            builders=1,
            run_timeout=RUN_TIMEOUT,
            server_timeout=60,
            repeats=Repeats(exact=True),
        )
        farm = Farm(tracked, [], measurer)
        try:
            for _ in range(2):
                farm.add_board()
            tracked.wait_for(2)
            yield farm
        finally:
            measurer.close()
            for board in farm.boards:
                with contextlib.suppress(psutil.NoSuchProcess):
                    signal_all(board, signal.SIGCONT)
                board.close()


@pytest.fixture(scope="module")
def slow(farm: Farm) -> tuple[Artifact, float]:
    """A kernel that runs long enough to be disturbed, and its cost."""
    text = KERNEL.format(statement=SLOW, dtype="float32")
    [built] = farm.measurer.build([tvm.script.from_source(text)])
    assert isinstance(built, Artifact)
    [measured] = farm.measurer.run([built])
    assert isinstance(measured, Measurement)
    assert measured.median > 64 * 100000
    return built, measured.median


def signal_all(board: EmulatedBoard, number: int) -> None:
    """Signal the board and its session."""
    process = psutil.Process(board.process.pid)
    for each in [*process.children(recursive=True), process]:
        each.send_signal(number)


def kill_session(board: EmulatedBoard) -> None:
    for process in psutil.Process(board.process.pid).children():
        process.kill()


def kill_agent(board: EmulatedBoard) -> None:
    board.process.kill()
    board.process.wait()


def stop(board: EmulatedBoard) -> None:
    signal_all(board, signal.SIGSTOP)


def in_a_while(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


@pytest.mark.parametrize("fault", [kill_session, kill_agent, stop])
@pytest.mark.parametrize("moment", [0.2, 1.0])
def test_a_fault_of_one_board_costs_no_measurement_and_changes_none(
    fault: Callable[[EmulatedBoard], None],
    moment: float,
    farm: Farm,
    slow: tuple[Artifact, float],
) -> None:
    artifact, cost = slow
    victim = farm.boards[0]
    timer = in_a_while(moment, lambda: fault(victim))
    try:
        outcomes = farm.measurer.run([artifact] * KERNELS)
    finally:
        timer.join()
        if fault is stop:
            signal_all(victim, signal.SIGCONT)
        if not victim.alive:
            farm.boards.remove(victim)
            victim.close()
            farm.add_board()
        farm.tracked.wait_for(2)
    assert [outcome.median for outcome in outcomes if isinstance(outcome, Measurement)] == (
        [cost] * KERNELS
    )


def test_a_client_that_is_cut_off_amid_an_upload_does_not_block_its_board(
    farm: Farm, slow: tuple[Artifact, float]
) -> None:
    artifact, cost = slow
    for _ in range(3):
        offer = farm.tracked.tracker.request(30)
        assert offer is not None
        with base.socket.create_connection((offer.host, offer.port), timeout=30) as connection:
            greeting = f"client:{offer.matchkey}".encode()
            connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(greeting)) + greeting)
            assert struct.unpack("<i", base.recvall(connection, 4)) == (base.RPC_CODE_SUCCESS,)
            connection.sendall(struct.pack("<Q", 1 << 20) + b"half of it")
    outcomes = farm.measurer.run([artifact] * 2)
    assert [outcome.median for outcome in outcomes if isinstance(outcome, Measurement)] == [
        cost
    ] * 2


def test_without_a_tracker_the_rest_is_lost_and_it_goes_on_when_it_is_back(
    farm: Farm, slow: tuple[Artifact, float]
) -> None:
    artifact, cost = slow
    timer = in_a_while(0.3, farm.tracked.tracker_process.kill)
    outcomes = farm.measurer.run([artifact] * (3 * KERNELS))
    timer.join()
    lost = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert all(outcome.is_lost for outcome in lost)
    assert all("run the same command to go on" in outcome.cause for outcome in lost)
    measured = [outcome.median for outcome in outcomes if isinstance(outcome, Measurement)]
    assert measured == [cost] * (3 * KERNELS - len(lost))
    farm.tracked.restart_tracker()
    farm.tracked.wait_for(2)
    [again] = farm.measurer.run([artifact])
    assert isinstance(again, Measurement)
    assert again.median == cost


def test_tuning_that_loses_its_tracker_keeps_every_trial_and_resumes(
    farm: Farm, tmp_path: Path
) -> None:
    workload = Workload(matmul())
    target = BOARD.tvm_target()
    stopped: list[str] = []

    def tuned(kill_at: int | None) -> int:
        """Trials that the database holds after a run, whose tracker may be killed during it."""

        def progress(state) -> None:
            if kill_at is not None and state.trials >= kill_at and not stopped:
                farm.tracked.tracker_process.kill()
                stopped.append("tracker")

        database = open_database(tmp_path)
        try:
            tune(
                {workload: 1}, target, farm.measurer, database,
                trials_per_kernel=24, seed=0, on_progress=progress,
            )  # fmt: skip
        except MeasureError as error:
            stopped.append(str(error))
        return len(database.get_all_tuning_records())

    before = tuned(kill_at=1)
    assert 0 < before < 24
    assert "run the same command to go on" in stopped[-1]
    farm.tracked.restart_tracker()
    farm.tracked.wait_for(2)
    assert tuned(kill_at=None) >= 24
    assert len(stopped) == 2


def matmul() -> tvm.IRModule:
    from tvm import te

    left, right = te.placeholder((32, 32), name="left"), te.placeholder((32, 32), name="right")
    depth = te.reduce_axis((0, 32), name="k")
    product = te.compute(
        (32, 32), lambda i, j: te.sum(left[i, depth] * right[depth, j], axis=depth), name="product"
    )
    return tvm.IRModule({"main": te.create_prim_func([left, right, product])})
