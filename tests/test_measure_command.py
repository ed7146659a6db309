"""``tvm-prune measure`` as its users start it: what it learns is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight

ROOT = Path(__file__).parent.parent


def measure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tvm_prune", "measure", "model.onnx", *arguments],
        capture_output=True, text=True, cwd=folder, check=False, timeout=500,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TVM_PRUNE_CACHE": str(folder / "cache")},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measure")
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        p = GlobalAveragePool(r) f = Flatten(p) y = Gemm <transB=1> (f, dense)
    """
    weights = {"one": weight(32, 3, 3, 3), "dense": weight(4, 32)}
    (folder / "model.onnx").write_bytes(onnx_model(body, weights).SerializeToString())
    return folder


def test_kernels_are_measured_into_the_cache_once(folder: Path) -> None:
    options = ("--trials", "1", "--measurements", "24", "--json")
    first = measure(folder, *options)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert 0 < told["measurements"] <= 24
    assert told["measured_now"] > 0
    assert told["error"]["samples"] == 8
    assert told["error"]["mape_percent"] > 0
    assert told["repeat_noise_percent"] >= 0
    written = json.loads(Path(folder / told["path"]).read_text())
    assert written["version"] == 1
    assert np.isfinite([cost for _, _, cost in written["measured"]]).all()
    second = measure(folder, *options)
    assert second.returncode == 0, second.stderr
    again = json.loads(second.stdout)
    assert again["measured_now"] == 0
    assert again["error"] == told["error"]
    assert again["path"] == told["path"]


@pytest.mark.parametrize("option", ["--minutes", "--measurements"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_effort_that_is_none_is_wrong_usage(option: str, value: str, folder: Path) -> None:
    assert measure(folder, option, value).returncode == 2
