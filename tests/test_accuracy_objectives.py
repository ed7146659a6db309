"""Pruning with the accuracy in view: thresholds, steps, drops, retraining, zeros among weights.

Kernels and whole models cost what the simulated board says; everything else is real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight
from support.table_board import DENSE, TableBoard, Widths

import tvm_prune
from tvm_prune import PruneResult, Settings
from tvm_prune.channels import find_channels
from tvm_prune.errors import BudgetError, DataError, PruneError
from tvm_prune.frontend import load_onnx
from tvm_prune.importance import Context, raw_scores
from tvm_prune.model import Model
from tvm_prune.transform import WeightThreshold
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]


def cost(widths: Widths) -> float:
    """Narrower is faster."""
    return 0.2 + 0.8 * widths[0] * widths[1] / (DENSE[0] * DENSE[1])


class Board(TableBoard):
    """Serves more than one run."""

    def close(self) -> None:
        """Stay open."""


@pytest.fixture(scope="module", autouse=True)
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        Board(cost, tmp_path_factory.mktemp("board")).install(patch)
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    """A classifier whose four classes are about equally frequent."""
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        b = Conv <pads=[1,1,1,1]> (r, two) s = Relu(b)
        p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense, offset)
    """
    weights = {
        "one": weight(16, 3, 3, 3, seed=1),
        "two": weight(16, 16, 3, 3, seed=2),
        "dense": weight(4, 16, seed=3),
        "offset": np.zeros(4, "float32"),
    }
    [logits] = reference_outputs(load_onnx(onnx_model(body, weights)), images(60))
    weights["offset"] = -logits.mean(axis=0)
    return load_onnx(onnx_model(body, weights))


def images(count: int, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    colour = 2 * generator.standard_normal((count, 3, 1, 1))
    return {"x": (colour + generator.standard_normal((count, 3, 8, 8))).astype("float32")}


@pytest.fixture(scope="module")
def evaluation(model: Model) -> Mapping[str, Array]:
    """Images and what the dense model takes them for: its accuracy is known to be 1."""
    x = images(80, seed=1)
    return {**x, "label": reference_outputs(model, x)[0].argmax(axis=1)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(trials=1, samples=3, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def pruned(model: Model, evaluation: Mapping[str, Array], settings: Settings) -> PruneResult:
    return tvm_prune.prune(
        model, parameters="0.5x", calibration=images(48), evaluation=evaluation, settings=settings
    )


def test_retrained_weights_are_compiled_by_the_same_plan(
    pruned: PruneResult, model: Model, evaluation: Mapping[str, Array], settings: Settings
) -> None:
    trained = {name: value * 1.5 for name, value in pruned.model.parameters.items()}
    again = tvm_prune.rebuild(
        model, pruned, {**trained, "steps": np.zeros(1)},
        calibration=images(16), evaluation=evaluation, settings=settings,
    )  # fmt: skip
    assert again.plan == pruned.plan
    for name, value in trained.items():
        np.testing.assert_array_equal(again.model.parameters[name], value)
    [logits] = reference_outputs(again.model, {"x": evaluation["x"]})
    assert again.accuracy == pytest.approx(
        float((logits.argmax(axis=1) == evaluation["label"]).mean())
    )
    assert again.library != pruned.library
    assert again.verification.max_relative_error < 1e-4


def test_weights_that_do_not_fit_the_plan_are_named(
    pruned: PruneResult, model: Model, settings: Settings
) -> None:
    whole = dict(model.parameters)
    with pytest.raises(DataError, match="'one' has the shape"):
        tvm_prune.rebuild(model, pruned, whole, calibration=images(16), settings=settings)
    less = {name: value for name, value in pruned.model.parameters.items() if name != "dense"}
    with pytest.raises(DataError, match="'dense' is missing"):
        tvm_prune.rebuild(model, pruned, less, calibration=images(16), settings=settings)


def test_a_threshold_needs_no_budget(model: Model, settings: Settings) -> None:
    channels = find_channels(model.module)
    [one, two] = raw_scores(Context(channels, model.parameters), "l2")
    bar = float(np.sort(one)[4])
    asked = replace(settings, criterion="l2", threshold=bar, objective="importance")
    result = tvm_prune.prune(model, calibration=images(16), settings=asked)
    kept = {width.group: width.kept for width in result.plan.widths}
    assert kept["one"] <= 12
    assert kept["two"] <= max(2, int((two >= bar).sum()))
    assert result.latency.median <= result.dense_latency.median


def test_pruning_in_steps_meets_the_budget(model: Model, settings: Settings) -> None:
    asked = replace(settings, steps=3, criterion="l2", objective="importance")
    result = tvm_prune.prune(model, parameters="0.4x", calibration=images(32), settings=asked)
    assert result.model.parameter_count <= 0.4 * model.parameter_count
    assert all(width.kept >= 1 for width in result.plan.widths)


def test_a_step_that_costs_too_much_accuracy_is_taken_back(
    model: Model, evaluation: Mapping[str, Array], settings: Settings
) -> None:
    asked = replace(
        settings, steps=4, schedule="linear", max_accuracy_drop=0.1, recover=False,
        objective="importance",
    )  # fmt: skip
    result = tvm_prune.prune(
        model, parameters="0.1x", calibration=images(48), evaluation=evaluation, settings=asked
    )
    assert result.accuracy is not None
    assert result.accuracy >= 0.9
    assert 0.1 * model.parameter_count < result.model.parameter_count < model.parameter_count


def test_a_model_that_lost_too_much_accuracy_is_not_delivered(
    model: Model, evaluation: Mapping[str, Array], settings: Settings
) -> None:
    asked = replace(settings, max_accuracy_drop=0.0, recover=False)
    with pytest.raises(BudgetError, match="points below the dense one"):
        tvm_prune.prune(
            model, parameters="0.1x", calibration=images(48), evaluation=evaluation,
            settings=asked,
        )  # fmt: skip


def test_the_objective_accuracy_finds_a_faster_model_within_the_drop(
    model: Model, evaluation: Mapping[str, Array], settings: Settings
) -> None:
    asked = replace(settings, objective="accuracy", max_accuracy_drop=0.15)
    result = tvm_prune.prune(model, calibration=images(48), evaluation=evaluation, settings=asked)
    assert result.accuracy is not None
    assert result.accuracy >= 0.85
    assert result.latency.median <= result.dense_latency.median
    assert result.model.parameter_count < model.parameter_count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "accuracy"}, "largest drop that is allowed"),
        ({"max_accuracy_drop": 0.1}, "needs labelled samples"),
        ({"max_accuracy_drop": 2.0}, "at least 0 and below 1"),
        ({"steps": 0}, "at least 1"),
        ({"threshold": -1.0}, "must not be negative"),
        ({"relative_threshold": 3.0}, "between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_told_before_the_long_work(
    changes: dict[str, Any], message: str, model: Model, tmp_path: Path
) -> None:
    settings = replace(Settings(cache=tmp_path / "cache"), **changes)
    with pytest.raises(PruneError, match=message):
        tvm_prune.prune(model, latency="0.5x", calibration=images(4), settings=settings)
    assert not list(tmp_path.glob("cache/*/database*"))


def test_zeros_shrink_the_compressed_model_and_the_report_says_what_was_measured(
    model: Model, evaluation: Mapping[str, Array], settings: Settings, tmp_path: Path
) -> None:
    result = tvm_prune.sparsify(
        model, threshold=WeightThreshold("percentile", 80), evaluation=evaluation,
        settings=settings,
    )  # fmt: skip
    assert result.sparsity[1] == pytest.approx(0.8, abs=0.01)
    assert result.compressed[1] < 0.6 * result.compressed[0]
    assert result.accuracy is not None
    assert result.accuracy[0] == 1
    assert {name: value.shape for name, value in result.model.parameters.items()} == {
        name: value.shape for name, value in model.parameters.items()
    }
    result.save(tmp_path / "sparse")
    text = (tmp_path / "sparse" / "report.txt").read_text(encoding="utf-8")
    assert "not its latency" in text
    assert f"{result.compressed[1]:,} bytes" in text
    assert (tmp_path / "sparse" / "model.onnx").stat().st_size > 0
