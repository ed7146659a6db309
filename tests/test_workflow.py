"""The main job on this machine, with real tuning and real measurements, on a small network."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

import tvm_prune
from tvm_prune import PruneResult, PruningPlan, Settings
from tvm_prune.board import load_board
from tvm_prune.errors import BudgetError, DataError, ModelError, PruneError
from tvm_prune.export import Bundle, read_bundle
from tvm_prune.frontend import load_onnx
from tvm_prune.manifest import sha256
from tvm_prune.model import Model
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import masked_model
from tvm_prune.verification import reference_outputs, run_bundle

Array = NDArray[Any]
BUDGET = "0.7x"
IMAGE = "float[1,3,16,16] x"


def network() -> Model:
    """A residual network whose five classes are about equally frequent."""
    body = """
        a = Conv <pads=[1,1,1,1]> (x, stem) n = BatchNormalization(a, scale, shift, mean, variance)
        r = Relu(n)
        b = Conv <pads=[1,1,1,1]> (r, first, bias) s = Relu(b)
        c = Conv <pads=[1,1,1,1]> (s, second) d = Add(c, r) t = Relu(d)
        p = GlobalAveragePool(t) f = Flatten(p)
        y = Gemm <transB=1> (f, dense, dense_bias)
    """
    generator = np.random.default_rng(0)
    weights = {
        "stem": weight(48, 3, 3, 3),
        "scale": generator.uniform(0.5, 1.5, 48).astype("float32"),
        "shift": generator.standard_normal(48).astype("float32"),
        "mean": generator.standard_normal(48).astype("float32"),
        "variance": generator.uniform(0.5, 1.5, 48).astype("float32"),
        "first": weight(64, 48, 3, 3),
        "bias": generator.standard_normal(64).astype("float32") / 10,
        "second": weight(48, 64, 3, 3),
        "dense": weight(5, 48),
        "dense_bias": np.zeros(5, "float32"),
    }
    biased = load_onnx(onnx_model(body, weights, inputs=IMAGE))
    [logits] = reference_outputs(biased, images(60))
    weights["dense_bias"] = -logits.mean(axis=0)
    return replace(load_onnx(onnx_model(body, weights, inputs=IMAGE)), name="tiny")


def images(count: int, seed: int = 0, size: int = 16) -> dict[str, Array]:
    """Noise around a random colour."""
    generator = np.random.default_rng(seed)
    colour = 2 * generator.standard_normal((count, 3, 1, 1))
    data = colour + generator.standard_normal((count, 3, size, size))
    return {"x": data.astype("float32")}


@dataclass
class Listener:
    """Progress that remembers what it was told."""

    steps: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str, total: int) -> Any:
        assert total > 0
        self.steps.append(title)
        yield self

    def update(self, done: int, detail: str = "", total: int | None = None) -> None:
        assert done >= 0

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass(frozen=True)
class Run:
    """A finished run, its bundle and what its cache held."""

    result: PruneResult
    bundle: Bundle
    progress: Listener
    kernels: Mapping[tuple[str, str], float]
    trials: int


def measured_kernels(cache: Path) -> dict[tuple[str, str], float]:
    """When each kernel in the cache was measured, by workload and schedule."""
    query = "SELECT workload, schedule, measured_at FROM kernel WHERE workload NOT LIKE 'model:%'"
    with sqlite3.connect(cache / "measurements.sqlite") as connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return {(workload, schedule): moment for workload, schedule, moment in rows}


def trials(cache: Path) -> int:
    [records] = cache.glob("*/database_tuning_record.json")
    return len(records.read_text().splitlines())


@pytest.fixture(scope="module")
def model() -> Model:
    return network()


@pytest.fixture(scope="module")
def labelled(model: Model) -> Mapping[str, Array]:
    """Images and what the dense model takes them for: its accuracy is known to be 1."""
    x = images(60, seed=1)
    [logits] = reference_outputs(model, x)
    assert len(set(logits.argmax(axis=1))) > 1
    return {**x, "label": logits.argmax(axis=1)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def settings(cache: Path) -> Settings:
    return Settings(trials=4, samples=4, cache=cache)


@pytest.fixture(scope="module")
def first(
    model: Model,
    labelled: Mapping[str, Array],
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    progress = Listener()
    result = tvm_prune.prune(
        model, "host", latency=BUDGET, calibration=images(64), evaluation=labelled,
        settings=settings, progress=progress,
    )  # fmt: skip
    bundle = result.save(tmp_path_factory.mktemp("out") / "bundle")
    return Run(result, bundle, progress, measured_kernels(settings.cache), trials(settings.cache))


@pytest.fixture(scope="module")
def second(
    first: Run, model: Model, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The same run again, without recovery, so that its weights are the dense model's own."""
    progress = Listener()
    result = tvm_prune.prune(
        model, "host", latency=BUDGET, calibration=images(64),
        settings=replace(settings, recover=False), progress=progress,
    )  # fmt: skip
    bundle = result.save(tmp_path_factory.mktemp("again"))
    return Run(result, bundle, progress, measured_kernels(settings.cache), trials(settings.cache))


def test_the_model_meets_its_budget_as_measured_and_is_smaller(first: Run, model: Model) -> None:
    result = first.result
    assert result.latency.median <= 0.7 * result.dense_latency.median
    assert result.model.parameter_count < model.parameter_count
    assert any(width.kept < width.dense for width in result.plan.widths)
    assert 0 < result.importance_kept < 1


def test_the_bundle_is_whole(first: Run) -> None:
    assert read_bundle(first.bundle.directory) == first.bundle
    names = {path.name for path in first.bundle.directory.iterdir()}
    assert names == {"model.so", "model.onnx", "plan.json", "manifest.json", "report.txt"}
    assert PruningPlan.load(first.bundle.directory / "plan.json") == first.result.plan
    report = (first.bundle.directory / "report.txt").read_text(encoding="utf-8")
    assert f"{first.result.latency.median * 1e3:.3f} ms" in report


def test_the_manifest_says_what_was_made_where_and_how_good_it_is(first: Run) -> None:
    directory, host = first.bundle.directory, load_board("host")
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["tool"] == {"name": "tvm_prune", "version": tvm_prune.__version__}
    assert manifest["versions"]["apache-tvm"] == version("apache-tvm")
    assert manifest["model"] == "tiny"
    assert manifest["budget"] == BUDGET
    assert manifest["board"]["name"] == "host"
    assert manifest["board"]["fingerprint"] == host.fingerprint
    assert manifest["target"] == dict(host.target)
    assert manifest["inputs"] == [{"name": "x", "shape": [1, 3, 16, 16], "dtype": "float32"}]
    assert manifest["outputs"] == [{"name": "y", "shape": [1, 5], "dtype": "float32"}]
    for name in ("model.so", "model.onnx", "plan.json", "report.txt"):
        assert manifest["files"][name] == sha256(directory / name)
    latency = manifest["latency"]
    assert latency["unit"] == "seconds"
    for side in ("dense", "pruned"):
        assert latency[side]["median"] > 0
        assert latency[side]["spread"] >= 0
        assert latency[side]["samples"] > 1
    assert latency["ratio"] == pytest.approx(
        latency["pruned"]["median"] / latency["dense"]["median"]
    )
    assert manifest["accuracy"]["dense"] == 1.0
    assert 0 <= manifest["accuracy"]["pruned"] <= 1
    assert manifest["parameters"]["pruned"] < manifest["parameters"]["dense"]
    assert manifest["verification"]["max_relative_error"] <= 1e-4
    assert manifest["tuning"]["trials"] == first.trials > 0


def test_the_accuracy_told_is_that_of_the_bundle(first: Run, labelled: Mapping[str, Array]) -> None:
    outputs = run_bundle(first.bundle, {"x": labelled["x"]})
    share = (outputs["y"].argmax(axis=1) == labelled["label"]).mean()
    assert first.result.accuracy == pytest.approx(share)


def test_recovered_weights_bring_the_outputs_closer(first: Run, model: Model) -> None:
    x = images(20, seed=2)
    [dense] = reference_outputs(model, x)
    [plain] = reference_outputs(masked_model(model, first.result.plan), x)
    recovered = run_bundle(first.bundle, x)["y"]
    assert ((recovered - dense) ** 2).mean() < ((plain - dense) ** 2).mean()


def test_the_steps_are_told_in_order(first: Run) -> None:
    steps = dict.fromkeys(step.split()[0].rstrip(",") for step in first.progress.steps)
    steps.pop("comparing", None)  # only where several plans were measured within the budget
    assert list(steps)[:5] == ["judging", "tuning", "measuring", "planning", "recovering"]
    assert any(text.startswith("tuned ") for text in first.progress.said)
    assert not any("nan" in text.lower() for text in first.progress.said)


def test_a_bundle_computes_what_the_masked_dense_model_computes(second: Run, model: Model) -> None:
    plan = second.result.plan
    x = images(12, seed=3)
    [expected] = reference_outputs(masked_model(model, plan), x)
    dense = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    unmasked = np.concatenate([dense.run(None, {"x": one[None]})[0] for one in x["x"]])
    scale = np.abs(expected).max()
    assert np.abs(unmasked - expected).max() > 1e-2 * scale
    outputs = run_bundle(second.bundle, x)["y"]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-4 * scale)


def test_the_onnx_model_of_a_bundle_is_what_was_deployed(first: Run, model: Model) -> None:
    proto = onnx.load(first.bundle.directory / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    assert set(shapes) == set(model.parameters)
    for name, axes in first.result.plan.kept.items():
        for axis, indices in axes.items():
            assert shapes[name][axis] == len(indices)
    x = images(8, seed=3)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    expected = np.concatenate([session.run(None, {"x": one[None]})[0] for one in x["x"]])
    outputs = run_bundle(first.bundle, x)["y"]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_what_the_user_keeps_is_not_touched(first: Run, model: Model, settings: Settings) -> None:
    """Without the first group the budget needs more of the other one, but never too much."""
    kept = replace(settings, keep=("stem",), max_sparsity=0.75)
    result = tvm_prune.prune(model, latency="0.9x", calibration=images(16), settings=kept)
    assert "stem" not in result.plan.kept
    [width] = result.plan.widths
    assert (width.group, width.dense) == ("first", 64)
    assert 16 <= width.kept < 64


def test_a_second_run_measures_nothing_again(first: Run, second: Run) -> None:
    tuning = second.result.tuning
    assert tuning.trials == 0
    assert tuning.reused == first.result.tuning.reused + len(first.result.tuning.kernels)
    assert second.trials == first.trials
    assert len(first.kernels) > 4
    assert first.kernels.items() <= second.kernels.items()


def test_without_labelled_data_there_is_no_accuracy(second: Run) -> None:
    assert second.result.accuracy is None
    assert second.bundle.manifest["accuracy"]["pruned"] is None


@pytest.mark.parametrize("budget", ["10s", "1x"])
def test_a_budget_that_the_dense_model_meets_leaves_it_as_it_is(
    budget: str, first: Run, model: Model, settings: Settings, tmp_path: Path
) -> None:
    result = tvm_prune.prune(model, latency=budget, calibration=images(4), settings=settings)
    assert result.plan.kept == {}
    assert result.attempts == ()
    assert result.importance_kept == 1.0
    assert result.model.parameter_count == model.parameter_count
    x = images(4, seed=4)
    [expected] = reference_outputs(model, x)
    outputs = run_bundle(result.save(tmp_path), x)["y"]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_an_impossible_budget_names_the_closest_plan(
    first: Run, model: Model, settings: Settings
) -> None:
    with pytest.raises(BudgetError, match=r"\[\d+, \d+\].*seconds"):
        tvm_prune.prune(model, latency="0.001us", calibration=images(4), settings=settings)


def refused(model: Model, cache: Path, error: type[PruneError], said: str, **options: Any) -> None:
    """Assert that a run fails before anything is tuned or measured."""
    progress = Listener()
    arguments = {"latency": BUDGET, "calibration": images(4), **options}
    settings = arguments.pop("settings", Settings(cache=cache))
    with pytest.raises(error, match=said):
        tvm_prune.prune(model, settings=settings, progress=progress, **arguments)
    assert progress.steps == []


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"calibration": {}}, DataError, "Input 'x' is missing"),
        ({"calibration": {"x": images(4)["x"][:, :2]}}, DataError, r"\[4, 2, 16, 16\]"),
        ({"calibration": images(0)}, DataError, "0 samples"),
        ({"evaluation": {}}, DataError, "Input 'x' is missing"),
        ({"evaluation": images(4)}, DataError, "no 'label'"),
        ({"latency": "soon"}, BudgetError, "soon"),
        ({"settings": Settings(criterion="l22")}, PruneError, "Did you mean"),
        ({"board": "hots"}, PruneError, "Did you mean 'host'"),
    ],
)
def test_what_is_wrong_is_told_before_the_long_work_begins(
    options: dict[str, Any], error: type[PruneError], said: str, model: Model, tmp_path: Path
) -> None:
    refused(model, tmp_path, error, said, **options)


def test_too_few_samples_for_one_batch_are_told_before_the_long_work_begins(
    tmp_path: Path,
) -> None:
    body = "a = Conv(x, one) r = Relu(a) y = Conv(r, two)"
    weights = {"one": weight(4, 3, 1, 1), "two": weight(2, 4, 1, 1)}
    batched = load_onnx(onnx_model(body, weights, inputs="float[8,3,16,16] x"))
    refused(batched, tmp_path, DataError, "4 samples.*8 at once")


def test_a_model_without_channels_to_prune_is_refused(tmp_path: Path) -> None:
    model = load_onnx(onnx_model("y = Conv(x, w)", {"w": weight(4, 3, 3, 3)}))
    refused(model, tmp_path, ModelError, "no channels", calibration=images(4, size=8))


SCRIPT = """
import sys
import numpy as np
import tvm_prune

print("this script starts")
model = tvm_prune.load(sys.argv[1])
data = {"x": np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype("float32")}
settings = tvm_prune.Settings(trials=1, samples=1)
result = tvm_prune.prune(model, latency="10s", calibration=data, settings=settings)
print(result.save(sys.argv[2]).directory)
"""


def test_the_api_works_from_a_script_without_a_main_guard(tmp_path: Path) -> None:
    body = "a = Conv(x, one) r = Relu(a) y = Conv(r, two)"
    weights = {"one": weight(4, 3, 1, 1), "two": weight(2, 4, 1, 1)}
    (tmp_path / "model.onnx").write_bytes(onnx_model(body, weights).SerializeToString())
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    finished = subprocess.run(
        [sys.executable, str(script), "model.onnx", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TVM_PRUNE_CACHE": str(tmp_path / "cache"),
        },
        check=False,
    )
    assert finished.stdout.splitlines() == ["this script starts", "out"], finished.stderr
    assert read_bundle(tmp_path / "out").inputs[0].name == "x"
    assert (tmp_path / "cache" / "measurements.sqlite").exists()
