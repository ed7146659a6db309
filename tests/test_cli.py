"""The program as its users start it: real processes, exit codes, and what goes where."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight

import tvm_prune
from tvm_prune.board import board_names
from tvm_prune.cli import COMMANDS

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "fashion_resnet8.onnx"

Finished = subprocess.CompletedProcess[str]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tvm_prune", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TVM_PRUNE_CACHE": str(folder / "cache"),
        "COLUMNS": "120",
    }


def started(folder: Path, *arguments: object) -> Finished:
    return subprocess.run(
        command(*arguments),
        capture_output=True, text=True, cwd=folder, env=environment(folder), check=False,
        timeout=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model and its data, next to what is not."""
    folder = tmp_path_factory.mktemp("user")
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        b = Conv <pads=[1,1,1,1]> (r, two) s = Relu(b)
        p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense)
    """
    weights = {"one": weight(16, 3, 3, 3), "two": weight(16, 16, 3, 3), "dense": weight(4, 16)}
    model = onnx_model(body, weights)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "garbage.onnx").write_bytes(b"\x00\x01 this is not a model")
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype("float32")
    np.savez(folder / "data.npz", x=images, label=np.arange(8) % 4)
    np.savez(folder / "unnamed.npz", images)
    np.savez(folder / "wide.npz", x=images.repeat(2, axis=3))
    np.savez(folder / "unlabelled.npz", x=images)
    (folder / "garbage.npz").write_bytes(b"this is not an archive")
    (folder / "file").write_text("in the way")
    return folder


def prune_command(**options: object) -> list[object]:
    """Arguments of ``prune`` for the small model, some of them replaced."""
    model = options.pop("model", "model.onnx")
    given = {"latency": "10s", "calibration": "data.npz", "output": "out", **options}
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    return ["prune", model, *flags]


def sweep_command(**options: object) -> list[object]:
    """Arguments of ``sweep`` for the small model, some of them replaced."""
    given = {"calibration": "data.npz", "output": "swept", **options}
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    return ["sweep", "model.onnx", *flags]


def test_the_version_is_that_of_the_package(folder: Path) -> None:
    finished = started(folder, "--version")
    assert finished.returncode == 0
    assert finished.stdout.strip() == tvm_prune.__version__


def test_help_names_every_command(folder: Path) -> None:
    finished = started(folder, "--help")
    assert finished.returncode == 0
    for name, entry in COMMANDS.items():
        assert name in finished.stdout
        assert entry.help in finished.stdout


def test_boards_are_listed_with_whether_they_are_reachable(folder: Path) -> None:
    finished = started(folder, "boards")
    assert finished.returncode == 0, finished.stderr
    for name in board_names():
        assert name in finished.stdout
    assert "yes" in finished.stdout


def test_boards_are_listed_for_machines(folder: Path) -> None:
    finished = started(folder, "boards", "--json")
    rows = json.loads(finished.stdout)
    assert [row["name"] for row in rows] == board_names()
    [host] = [row for row in rows if row["name"] == "host"]
    assert host["reachable"] is True


def test_inspect_tells_what_can_be_pruned(folder: Path) -> None:
    finished = started(folder, "inspect", "model.onnx")
    assert finished.returncode == 0, finished.stderr
    for words in ("model:", "2 groups with 32 units", "one", "two", "dense[0]"):
        assert words in finished.stdout


def test_what_is_kept_is_no_group(folder: Path) -> None:
    everything = json.loads(started(folder, "inspect", EXAMPLE, "--json").stdout)
    kept = json.loads(started(folder, "inspect", EXAMPLE, "--json", "--keep", "stage1.*").stdout)
    names = [{group["name"] for group in data["groups"]} for data in (everything, kept)]
    assert "stage1.conv1.weight" in names[0] - names[1]
    assert "stage3.conv1.weight" in names[1]
    reasons = {entry["reason"] for entry in kept["frozen"] if "stage1" in entry["parameter"]}
    assert reasons == {"is kept as asked"}


def test_inspect_tells_machines_too(folder: Path) -> None:
    finished = started(folder, "inspect", EXAMPLE, "--json")
    assert finished.returncode == 0, finished.stderr
    data = json.loads(finished.stdout)
    assert data["model"] == "fashion_resnet8"
    assert {group["width"] for group in data["groups"]} == {32, 64, 96}
    assert data["barriers"] == []


WRONG: dict[str, tuple[list[object], str]] = {
    "missing model": (["inspect", "nowhere.onnx"], "nowhere.onnx"),
    "garbage model": (["inspect", "garbage.onnx"], "not an ONNX model"),
    "unknown layer": (["inspect", "model.onnx", "--keep", "cnv"], "'cnv'"),
    "malformed shape": (["inspect", "model.onnx", "--shape", "x:1,three"], "x:1,three"),
    "shape without a name": (["inspect", "model.onnx", "--shape", "1,3,8,8"], "1,3,8,8"),
    "shape of an unknown input": (["inspect", "model.onnx", "--shape", "z:1,3"], "no input 'z'"),
    "malformed latency": (prune_command(latency="soon"), "'soon'"),
    "latency above the dense one": (prune_command(latency="2x"), "between 0x and 1x"),
    "parameters in seconds": (prune_command(parameters="8ms"), "120k"),
    "malformed macs": (prune_command(macs="few"), "'few'"),
    "sweep of one budget": (sweep_command(**{"from": "0.5x", "to": "0.5x"}), "makes no sense"),
    "sweep of two kinds": (sweep_command(**{"from": "0.5x", "to": "1ms"}), "makes no sense"),
    "sweep into a file": (sweep_command(output="file"), "is a file"),
    "unknown board": (prune_command(board="hots"), "Did you mean 'host'"),
    "missing board file": (prune_command(board="./my.toml"), "my.toml"),
    "missing calibration": (prune_command(calibration="nowhere.npz"), "nowhere.npz"),
    "garbage calibration": (prune_command(calibration="garbage.npz"), "not an .npz file"),
    "calibration without the input": (prune_command(calibration="unnamed.npz"), "Input 'x'"),
    "calibration of another shape": (prune_command(calibration="wide.npz"), "[8, 3, 8, 16]"),
    "missing evaluation": (prune_command(eval="nowhere.npz"), "nowhere.npz"),
    "evaluation without labels": (prune_command(eval="unlabelled.npz"), "'label'"),
    "accuracy without a drop": (prune_command(objective="accuracy"), "--max-accuracy-drop"),
    "a drop of nothing known": (prune_command(**{"max-accuracy-drop": 0.1}), "--eval"),
    "negative threshold": (prune_command(threshold=-1), "must not be negative"),
    "more than all weights": (
        ["weights", "model.onnx", "--percentile", 101, "-o", "out"],
        "at most 100",
    ),
    "output is a file": (prune_command(output="file"), "is a file"),
    "output below a file": (prune_command(output="file/out"), "file"),
    "cache is a file": (prune_command(cache="file"), "--cache"),
    "no bundle": (["run", "cache", "--input", "data.npz"], "not a bundle"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_one_sentence_and_exit_code_1(name: str, folder: Path) -> None:
    arguments, said = WRONG[name]
    finished = started(folder, *arguments)
    assert finished.returncode == 1, finished.stderr
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    [message] = [line for line in finished.stderr.splitlines() if "error:" in line]
    assert message.startswith("tvm-prune: error: ")
    assert said in message


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["prude"],
        ["prune", "model.onnx"],
        ["prune", "model.onnx", "--calibration", "data.npz", "-o", "out"],
        sweep_command(points=1),
        sweep_command(latency="0.5x"),
        ["prune", "model.onnx", "--latency", "1ms", "--calibration", "data.npz"],
        prune_command(trials=-1),
        prune_command(samples="many"),
        prune_command(importance="l3"),
        prune_command(objective="speed"),
        prune_command(steps=0),
        ["weights", "model.onnx", "-o", "out"],
        ["weights", "model.onnx", "--relative", 0.1, "--percentile", 10, "-o", "out"],
        ["boards", "extra"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        tvm_prune_main(*arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: tvm-prune" in captured.err


def tvm_prune_main(*arguments: object) -> int:
    from tvm_prune.cli import main

    return main([str(argument) for argument in arguments])


def test_wrong_usage_of_the_real_program_is_exit_code_2_too(folder: Path) -> None:
    finished = started(folder, "prune", "model.onnx", "--calibration", "data.npz", "-o", "out")
    assert finished.returncode == 2
    assert "--latency, --parameters, --macs" in finished.stderr
    assert finished.stdout == ""


def _tuned(folder: Path, cache: str = "tuned") -> int:
    return sum(
        len(path.read_text().splitlines())
        for path in (folder / cache).glob("*/database_tuning_record.json")
    )


def press_ctrl_c(process: int) -> None:
    """As a terminal does: every process of the program gets it."""
    os.killpg(process, signal.SIGINT)


def terminate(process: int) -> None:
    """As a build server does: only the program's first process gets it."""
    os.kill(process, signal.SIGTERM)


def stopped(folder: Path, stop: Callable[[int], None], cache: str = "tuned") -> Finished:
    """Tune, and be stopped before that is done."""
    (folder / "temporary").mkdir(exist_ok=True)
    process = subprocess.Popen(
        command(*prune_command(trials=2000, samples=2, cache=cache)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=environment(folder) | {"TMPDIR": str(folder / "temporary")}, start_new_session=True,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 200
        while _tuned(folder, cache) < 6 and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.2)
        stop(process.pid)
        output, errors = process.communicate(timeout=100)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture(scope="module")
def after_ctrl_c(folder: Path) -> Finished:
    return stopped(folder, press_ctrl_c)


def test_ctrl_c_ends_tuning_with_130_and_says_how_to_go_on(after_ctrl_c: Finished) -> None:
    assert after_ctrl_c.returncode == 130, after_ctrl_c.stderr
    assert after_ctrl_c.stdout == ""
    assert "Traceback" not in after_ctrl_c.stderr
    assert "run the same command to go on" in after_ctrl_c.stderr


def test_sigterm_ends_the_program_with_143_and_leaves_nothing_behind(folder: Path) -> None:
    terminated = stopped(folder, terminate, cache="terminated")
    assert terminated.returncode == 143, terminated.stderr
    assert "Traceback" not in terminated.stderr
    assert "run the same command to go on" in terminated.stderr
    assert _tuned(folder, "terminated") >= 6
    assert not list((folder / "temporary").glob("tvm-prune-*"))


@pytest.fixture(scope="module")
def resumed(after_ctrl_c: Finished, folder: Path) -> Finished:
    before = _tuned(folder)
    assert before >= 6
    finished = started(
        folder,
        *prune_command(trials=2, samples=2, cache="tuned", eval="data.npz"),
        "--json",
        "-v",
    )
    tuning = json.loads(finished.stdout)["tuning"]
    assert _tuned(folder) == before + tuning["trials"]
    return finished


def test_a_run_after_ctrl_c_keeps_what_was_measured(resumed: Finished) -> None:
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["tuning"]["kernels_reused"] >= 1


def test_results_go_to_standard_output_and_everything_else_does_not(resumed: Finished) -> None:
    data = json.loads(resumed.stdout, parse_constant=pytest.fail)
    assert data["accuracy"]["dense"] is not None
    assert data["latency"]["unit"] == "seconds"
    for words in ("tuning the dense kernels", "measuring pruned kernels", "tuned "):
        assert words in resumed.stderr
        assert words not in resumed.stdout


@pytest.fixture
def bundle(resumed: Finished, folder: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that the resumed run wrote, to do anything with."""
    return Path(shutil.copytree(folder / "out", tmp_path / "bundle"))


def test_a_bundle_is_run(bundle: Path, folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "outputs.npz"
    finished = started(folder, "run", bundle, "--input", "data.npz", "--output", written, "--json")
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    with np.load(written) as outputs:
        assert set(outputs.files) == set(told) == {"y"}
        assert outputs["y"].shape == (8, 4)
        np.testing.assert_allclose(told["y"], outputs["y"], rtol=1e-6)


@pytest.mark.parametrize("name", ["model.so", "plan.json", "manifest.json"])
def test_an_altered_bundle_is_refused_and_nothing_in_it_is_loaded(
    name: str, bundle: Path, folder: Path
) -> None:
    (bundle / name).write_bytes(b"\x7fELF and then garbage")
    finished = started(folder, "run", bundle, "--input", "data.npz")
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    assert name in finished.stderr


def test_an_altered_library_is_refused_before_it_is_opened(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(*_arguments: Any, **_options: Any) -> None:
        pytest.fail("the library was used")

    monkeypatch.setattr("tvm_prune.verification.run_executable_batches", opened)
    (bundle / "model.so").write_bytes(b"garbage")
    data = bundle.parent / "data.npz"
    np.savez(data, x=np.zeros((1, 3, 8, 8), "float32"))
    assert tvm_prune_main("run", bundle, "--input", data) == 1
    assert "nothing was loaded" in capsys.readouterr().err
