"""Boards under QEMU's user mode: cross-compiled, measured in instructions, replaced when dead."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
from small_kernels import ABORTS, FINE, module
from support.emulated import KEY
from support.matmul import scheduled_matmul
from support.rpc_servers import boards

from tvm_prune.board import load_board
from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.export import export_shared_library
from tvm_prune.measure import MEASURERS, RpcMeasurer
from tvm_prune.measure.served_boards import EmulatedServers, finder_of
from tvm_prune.measurement import Artifact, Failure, Measurement

BOARD = load_board("aarch64-qemu")
SIZE = 16


@pytest.fixture(scope="module")
def measurer():
    opened = MEASURERS[BOARD.connection](dataclasses.replace(BOARD, boards=1), None, None)
    yield opened
    opened.close()


def matmul_library(name: str, folder: Path) -> Path:
    """A model that multiplies `left` and `right`, compiled for a board of ours."""
    board = load_board(name)
    target = board.tvm_target()
    path = folder / "model.so"
    export_shared_library(scheduled_matmul(SIZE, target), target, path, board.linker)
    return path


def test_a_model_computes_the_same_and_its_cost_is_exact(measurer, tmp_path: Path) -> None:
    library = matmul_library("aarch64-qemu", tmp_path)
    random = np.random.default_rng(0)
    inputs = {
        name: random.standard_normal((SIZE, SIZE), dtype="float32") for name in ("left", "right")
    }
    [[product]] = measurer.run_model(library, [inputs])
    np.testing.assert_allclose(product, inputs["left"] @ inputs["right"], rtol=1e-5, atol=1e-5)
    once, again = measurer.time_models([library, library], inputs)
    [alone] = measurer.time_models([library], inputs)
    assert alone.median == once.median
    assert once.unit == again.unit == "instructions"
    assert once.median == again.median == round(once.median)
    assert once.median > SIZE**3 / 4


def test_kernels_are_measured_in_instructions_and_a_crash_fails_alone(measurer) -> None:
    built = measurer.build([module(statement) for statement in (FINE, ABORTS, FINE)])
    assert all(isinstance(each, Artifact) for each in built)
    first, aborted, last = measurer.run(built)
    assert isinstance(first, Measurement)
    assert first == last
    assert first.unit == "instructions"
    assert isinstance(aborted, Failure)
    assert "SIGABRT" in aborted.cause


def test_a_board_that_dies_is_replaced(measurer) -> None:
    [built] = measurer.build([module(FINE)])
    [before] = measurer.run([built])
    [name] = measurer._tracker.servers()
    board = measurer._tracker._boards[0]
    assert board.name == name
    board.process.send_signal(signal.SIGKILL)
    board.process.wait()
    [after] = measurer.run([built])
    assert after == before


def test_a_server_with_another_clock_is_not_believed(tmp_path: Path) -> None:
    with boards(tmp_path, 0) as tracked:
        board = EmulatedBoard("cortex-a72", tracked.key, tracked.tracker.name)
        seconds = RpcMeasurer(
            BOARD.tvm_target(), tracked.tracker, linker=BOARD.linker, server_timeout=5
        )
        try:
            tracked.wait_for(1)
            [outcome] = seconds.run(seconds.build([module(FINE)]))
        finally:
            seconds.close()
            board.close()
    assert isinstance(outcome, Failure)
    assert outcome.is_lost
    assert "counts instructions, but its board is measured in seconds" in outcome.cause


def test_with_a_tracker_its_servers_are_used_and_none_is_started() -> None:
    assert isinstance(finder_of(BOARD), EmulatedServers)
    assert finder_of(BOARD, "127.0.0.1:9190").place.endswith("127.0.0.1:9190")


@pytest.mark.parametrize(
    ("name", "bits", "machine"),
    [("raspberry-pi-4b", 2, 183), ("raspberry-pi-5", 2, 183), ("stm32mp1", 1, 40)],
)
def test_models_are_linked_for_the_architecture_of_the_board(
    name: str, bits: int, machine: int, tmp_path: Path
) -> None:
    header = matmul_library(name, tmp_path).read_bytes()[:20]
    assert header[4] == bits
    assert int.from_bytes(header[18:20], "little") == machine


def test_a_linker_that_is_missing_is_told_with_the_package_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match=r"raspberry-pi-4b.*apt-get install gcc-aarch64-linux-gnu"):
        MEASURERS["rpc"](load_board("raspberry-pi-4b"), None, "127.0.0.1:1")


def test_what_a_board_keeps_is_what_was_sent(measurer, tmp_path: Path) -> None:
    sent = tmp_path / "library.so"
    sent.write_bytes(b"\x7fELF and so on")
    kept = Path(measurer.keep(sent, "model.so"))
    assert kept.name == "model.so"
    assert kept.read_bytes() == sent.read_bytes()


def test_tvms_own_server_keeps_nothing_and_says_who_does(target, tmp_path: Path) -> None:
    with boards(tmp_path, 1) as started:
        host = RpcMeasurer(target, started.tracker)
        try:
            assert host.describe() == {}
            with pytest.raises(MeasureError, match="keeps no files; run tvm-prune's agent"):
                host.keep(tmp_path / "model.so", "model.so")
        finally:
            host.close()


def test_emulated_boards_take_turns() -> None:
    servers = EmulatedServers("cortex-a53", KEY, 2)
    try:
        names = servers.servers()
        given = [servers.request(1) for _ in range(4)]
    finally:
        servers.close()
    assert len(set(names)) == 2
    assert [each.name for each in given if each] == names * 2
