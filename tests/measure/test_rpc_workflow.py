"""The main job on a board behind a tracker, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight
from support.rpc_servers import boards

from tvm_prune.board import load_board
from tvm_prune.errors import BoardError
from tvm_prune.measure import MEASURERS
from tvm_prune.reachability import reachability

BOARD = """
name = "mine"
description = "a server on this machine"
connection = "rpc"

[target]
kind = "llvm"
detect = true

[rpc]
key = "board"

[measure]
repeats = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board file, a model of two convolutions, and data for it."""
    (tmp_path / "mine.toml").write_text(BOARD)
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        y = Conv <pads=[1,1,1,1]> (r, two)
    """
    model = onnx_model(body, {"one": weight(16, 3, 3, 3), "two": weight(4, 16, 3, 3)})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "data.npz", x=images)
    return tmp_path


def prune(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tvm_prune", "prune", "model.onnx", "--board", "./mine.toml"]
    command += ["--calibration", "data.npz", "--latency", "10s", "--trials", "2", "--samples", "2"]
    return subprocess.run(
        [*command, "-o", "out", "--cache", "cache", "--json", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_the_main_job_runs_on_a_board_behind_a_tracker(folder: Path) -> None:
    with boards(folder, 1) as started:
        board = load_board(str(folder / "mine.toml"))
        finished = prune(folder, "--tracker", started.tracker.name, "--max-sparsity", "0.5")
        sessions = started.servers[0].sessions
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert told["latency"]["unit"] == "seconds"
    assert (folder / "out" / "model.so").exists()
    assert (folder / "cache" / board.fingerprint).is_dir()
    assert sessions > 5


def test_a_tracker_that_is_not_there_ends_the_command_with_the_words_that_resume_it(
    folder: Path,
) -> None:
    finished = prune(folder, "--tracker", "127.0.0.1:1")
    assert finished.returncode == 1
    assert "127.0.0.1:1 does not answer" in finished.stderr
    assert "run the same command to go on" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("tracker", "words"),
    [(None, "TVM_TRACKER_HOST"), ("nowhere", "HOST:PORT"), ("host:port", "'host:port'")],
)
def test_a_board_needs_the_address_of_its_tracker(
    tracker: str | None, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TVM_TRACKER_HOST", raising=False)
    board = load_board(str(folder / "mine.toml"))
    with pytest.raises(BoardError, match=words):
        MEASURERS["rpc"](board, None, tracker)
    assert not reachability(board).reachable


def test_the_environment_may_name_the_tracker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TRACKER_HOST", "127.0.0.1")
    monkeypatch.setenv("TVM_TRACKER_PORT", "1")
    told = reachability(load_board(str(folder / "mine.toml")))
    assert not told.reachable
    assert "The tracker 127.0.0.1:1 does not answer" in told.remark


def test_a_foreign_architecture_needs_a_linker(folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_text(BOARD.replace("detect = true", 'mtriple = "riscv64-linux-gnu"\nnum-cores = 1'))
    with pytest.raises(BoardError, match=r"linker for riscv64-linux-gnu.*\[toolchain\]"):
        MEASURERS["rpc"](load_board(str(path)), None, "127.0.0.1:1")
