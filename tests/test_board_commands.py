"""The main job on the emulated board, and the commands about boards, as their users start them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight
from support.rpc_servers import boards

from tvm_prune.board import load_board
from tvm_prune.errors import BoardError, BundleError
from tvm_prune.export import read_bundle
from tvm_prune.installation import install
from tvm_prune.tuning import open_database

QEMU = "aarch64-qemu"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tvm_prune", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def started(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True,
        check=False, timeout=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that was pruned for the emulated board, its data and the cache."""
    folder = tmp_path_factory.mktemp("emulated")
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        y = Conv <pads=[1,1,1,1]> (r, two)
    """
    model = onnx_model(body, {"one": weight(16, 3, 3, 3), "two": weight(4, 16, 3, 3)})
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8), dtype=np.float32)
    np.savez(folder / "data.npz", x=images)
    finished = started(
        folder, "prune", "model.onnx", "--board", QEMU, "--latency", "0.6x", "--calibration",
        "data.npz", "--trials", 2, "--samples", 2, "--cache", "cache", "-o", "out", "--json",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    (folder / "told.json").write_text(finished.stdout)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "told.json").read_text())


def test_a_model_is_pruned_to_a_share_of_its_instructions(folder: Path, told) -> None:
    latency = told["latency"]
    assert latency["unit"] == "instructions"
    assert latency["pruned"]["median"] <= 0.6 * latency["dense"]["median"]
    assert latency["pruned"]["spread"] == latency["dense"]["spread"] == 0
    report = (folder / "out" / "report.txt").read_text()
    assert f"{latency['pruned']['median']:,.0f} instructions" in report
    assert " ms" not in report
    header = (folder / "out" / "model.so").read_bytes()[:20]
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


def test_its_schedules_are_kept_under_the_board(folder: Path, told) -> None:
    board = load_board(QEMU)
    assert told["board"]["fingerprint"] == board.fingerprint
    assert open_database(folder / "cache" / board.fingerprint).get_all_tuning_records()


def test_a_bundle_is_deployed_with_the_cost_it_was_pruned_to(folder: Path, told) -> None:
    finished = started(
        folder, "deploy", "out", "--board", QEMU, "--input", "data.npz", "--keep", "--json"
    )
    assert finished.returncode == 0, finished.stderr
    deployed = json.loads(finished.stdout)
    assert deployed["latency"]["median"] == told["latency"]["pruned"]["median"]
    assert deployed["latency"]["unit"] == "instructions"
    assert deployed["samples"] == 4
    assert 0 <= deployed["max_relative_error"] < 1e-4
    assert Path(deployed["kept_at"]).name.startswith("model-")


def test_estimated_cycles_are_a_unit_of_their_own_from_pruning_to_deployment(
    folder: Path, told: dict[str, Any]
) -> None:
    finished = started(
        folder, "prune", "model.onnx", "--board", QEMU, "--clock", "estimated-cycles",
        "--latency", "0.6x", "--calibration", "data.npz", "--trials", 2, "--samples", 2,
        "--cache", "cache", "-o", "cycles", "--json",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    estimated = json.loads(finished.stdout)
    latency = estimated["latency"]
    assert latency["unit"] == "estimated cycles"
    assert latency["pruned"]["median"] <= 0.6 * latency["dense"]["median"]
    assert latency["dense"]["median"] != told["latency"]["dense"]["median"]
    with contextlib.closing(sqlite3.connect(folder / "cache" / "measurements.sqlite")) as file:
        units = file.execute("SELECT DISTINCT board, unit FROM kernel WHERE failure IS NULL")
        assert set(units.fetchall()) == {
            (estimated["board"]["fingerprint"], "estimated cycles"),
            (told["board"]["fingerprint"], "instructions"),
        }
    deploy = ("deploy", "cycles", "--board", QEMU, "--input", "data.npz")
    deployed = json.loads(started(folder, *deploy, "--json").stdout)
    assert deployed["latency"]["unit"] == "estimated cycles"
    assert deployed["latency"]["median"] == latency["pruned"]["median"]
    refused = started(folder, *deploy, "--clock", "instructions")
    assert refused.returncode == 1
    assert "measured in estimated cycles, but the board" in refused.stderr


def altered(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "out"
    shutil.copytree(folder / "out", copy)
    return copy


def test_a_library_that_is_not_the_manifests_is_never_uploaded(
    folder: Path, tmp_path: Path
) -> None:
    copy = altered(folder, tmp_path)
    bundle = read_bundle(copy)
    (copy / "model.so").write_bytes((copy / "model.so").read_bytes() + b" ")
    finished = started(folder, "deploy", copy, "--board", QEMU, "--input", "data.npz")
    assert finished.returncode == 1
    assert "SHA-256 differs" in finished.stderr
    with pytest.raises(BundleError, match=r"altered; nothing was uploaded"):
        install(bundle, QEMU, np.load(folder / "data.npz"))


def test_a_bundle_for_another_board_is_refused_with_both(folder: Path) -> None:
    bundle = read_bundle(folder / "out")
    with pytest.raises(BundleError, match=r"aarch64-linux-gnu cortex-a72.*'raspberry-pi-5'.*a76"):
        install(bundle, "raspberry-pi-5", {})
    with pytest.raises(BundleError, match=r"measured in instructions.*measures in seconds"):
        install(bundle, dataclasses.replace(load_board(QEMU), clock="seconds"), {})


def test_a_budget_in_milliseconds_is_refused_before_anything_is_done(folder: Path) -> None:
    finished = started(
        folder, "prune", "model.onnx", "--board", QEMU, "--latency", "8ms", "--calibration",
        "data.npz", "-o", "nothing", "--cache", "cache",
    )  # fmt: skip
    assert finished.returncode == 1
    assert "measures in instructions" in finished.stderr
    assert not (folder / "nothing").exists()


def test_a_board_is_started_and_registers_and_is_found_and_checked(
    folder: Path, tmp_path: Path
) -> None:
    with boards(tmp_path, 0) as tracked:
        tracked.tracker = type(tracked.tracker)("127.0.0.1", tracked.tracker.port, QEMU)
        process = subprocess.Popen(
            command("board", "start", QEMU, "--cpu", "cortex-a53", "--tracker",
                    tracked.tracker.name),
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A shell that starts tests in the background has SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        try:
            tracked.wait_for(1)
            checked = started(
                folder, "boards", "--check", QEMU, "--tracker", tracked.tracker.name, "--json"
            )
            assert checked.returncode == 0, checked.stderr
            facts = json.loads(checked.stdout)
            assert facts["servers"] == facts["free"] == 1
            assert facts["facts"]["machine"] == "aarch64"
            assert facts["facts"]["clock"] == facts["unit"] == "instructions"
            assert facts["cost"] > 32**3 / 4
        finally:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "switched off" in output
    assert "cortex-a53" in errors


def test_a_board_that_is_not_emulated_cannot_be_started(folder: Path) -> None:
    finished = started(folder, "board", "start", "raspberry-pi-4b")
    assert finished.returncode == 1
    assert "not emulated" in finished.stderr


def test_the_agent_is_built_where_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    finished = started(folder, "agent", "build", "--arch", "aarch64", "-o", tmp_path / "agent")
    assert finished.returncode == 0, finished.stderr
    assert "tvm-prune-agent" in finished.stdout
    assert (tmp_path / "agent" / "tvm-prune-agent").exists()
    wrong = started(folder, "agent", "build", "--arch", "abacus", "-o", tmp_path / "agent")
    assert wrong.returncode == 1
    assert "'abacus'" in wrong.stderr


def test_a_board_whose_file_promises_too_much_is_told(folder: Path, tmp_path: Path) -> None:
    from tvm_prune.board_check import check_facts

    board = load_board("raspberry-pi-5")
    facts = {"machine": "aarch64", "features": "fp asimd asimdhp"}
    with pytest.raises(BoardError, match=r"lacks \+dotprod.*fp asimd asimdhp"):
        check_facts(board, facts)
    with pytest.raises(BoardError, match=r"is a x86_64, but its file says aarch64"):
        check_facts(board, {"machine": "x86_64", "features": ""})
    check_facts(board, {"machine": "aarch64", "features": "fp asimd asimdhp asimddp"})
