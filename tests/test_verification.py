"""Verification compares what was compiled with an independent computation, and can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.errors import DataError, ExportError, VerificationError
from tvm_prune.export import Bundle, export_shared_library
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.transform import inference_form
from tvm_prune.tuning import default_schedule, kernel_calls, lower, with_schedules
from tvm_prune.verification import (
    TOLERANCE,
    accuracy,
    labelled,
    reference_outputs,
    run_bundle,
    verify,
)

Array = NDArray[Any]
Export = Callable[[Model], Path]


def network(batch: int = 2) -> Model:
    body = """
        a = Conv <pads=[1,1,1,1]> (x, conv, bias) r = Relu(a)
        p = GlobalAveragePool(r) f = Flatten(p)
        y = Gemm <transB=1> (f, dense)
    """
    weights = {
        "conv": weight(6, 3, 3, 3),
        "bias": np.linspace(-1, 1, 6, dtype="float32"),
        "dense": weight(4, 6),
    }
    return load_onnx(onnx_model(body, weights, inputs=f"float[{batch},3,8,8] x"))


def images(count: int) -> dict[str, Array]:
    data = np.random.default_rng(0).standard_normal((count, 3, 8, 8))
    return {"x": data.astype("float32")}


@pytest.fixture(scope="module")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="module")
def export(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Export:
    def build(model: Model) -> Path:
        path = tmp_path_factory.mktemp("library") / "model.so"
        lowered = lower(inference_form(model), target)
        schedules = {
            call.name: default_schedule(call.workload, target) for call in kernel_calls(lowered)
        }
        export_shared_library(with_schedules(lowered, schedules), target, path)
        return path

    return build


@pytest.fixture(scope="module")
def model() -> Model:
    return network()


@pytest.fixture(scope="module")
def library(model: Model, export: Export) -> Path:
    return export(model)


def test_a_model_that_computes_what_it_should_is_verified(model: Model, library: Path) -> None:
    found = verify(library, {"dense model": model}, images(8))
    assert found.samples == 8
    assert 0 <= found.max_relative_error <= TOLERANCE
    assert found.reference == "the dense model in ONNX Runtime"


@pytest.mark.parametrize("name", ["conv", "bias", "dense"])
def test_a_wrong_weight_is_found(name: str, model: Model, library: Path) -> None:
    wrong = {key: value.copy() for key, value in model.parameters.items()}
    wrong[name].flat[-1] += 0.1
    with pytest.raises(
        VerificationError, match=r"Output 'y'.*from the model by.*Nothing was written"
    ):
        verify(library, {"model": model.with_parameters(wrong)}, images(8))


def test_outputs_that_are_no_numbers_are_not_equal_to_anything(
    model: Model, export: Export
) -> None:
    broken = {**model.parameters, "dense": model.parameters["dense"] * np.float32("nan")}
    library = export(model.with_parameters(broken))
    with pytest.raises(VerificationError, match="differs"):
        verify(library, {"model": model}, images(2))


def test_models_that_take_more_samples_at_once_than_are_compared_are_verified(
    export: Export,
) -> None:
    large = network(batch=24)
    assert verify(export(large), {"model": large}, images(50)).samples == 24


def test_without_an_onnx_form_tvm_itself_is_the_reference(
    model: Model, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_model: Model) -> None:
        raise ExportError("there is no such op")

    monkeypatch.setattr("tvm_prune.verification.to_onnx", refuse)
    found = verify(library, {"model": model}, images(4))
    assert found.reference == "the model in TVM without schedules"
    wrong = {**model.parameters, "dense": model.parameters["dense"] + np.float32(0.1)}
    with pytest.raises(VerificationError):
        verify(library, {"model": model.with_parameters(wrong)}, images(4))


def test_a_model_is_compared_with_every_reference(model: Model, library: Path) -> None:
    zeros = {**model.parameters, "bias": np.zeros(6, "float32")}
    references = {"model": model, "other one": model.with_parameters(zeros)}
    with pytest.raises(VerificationError, match="from the other one"):
        verify(library, references, images(4))


def test_the_reference_uses_the_given_weights_and_leaves_the_model_alone(model: Model) -> None:
    zeroed = {**model.parameters, "dense": np.zeros_like(model.parameters["dense"])}
    [changed] = reference_outputs(model.with_parameters(zeroed), images(4))
    [dense] = reference_outputs(model, images(4))
    assert changed.shape == dense.shape == (4, 4)
    assert (changed == 0).all()
    assert np.abs(dense).max() > 0.1


def test_accuracy_is_the_share_of_labels_that_have_the_largest_output(
    model: Model, library: Path
) -> None:
    x = images(10)
    [logits] = reference_outputs(model, x)
    best = logits.argmax(axis=1)
    wrong = np.where(np.arange(10) < 3, (best + 1) % 4, best)
    for labels, share in [(best, 1.0), (wrong, 0.7), ((best + 1) % 4, 0.0)]:
        data = labelled(model.inputs, {**x, "label": labels})
        assert accuracy(library, model.inputs, data) == pytest.approx(share)


def test_samples_that_do_not_fill_a_batch_are_left_out_of_the_accuracy(
    model: Model, library: Path
) -> None:
    x = images(5)
    [logits] = reference_outputs(model, x)
    labels = np.append(logits.argmax(axis=1), 99)
    data = labelled(model.inputs, {**x, "label": labels})
    assert accuracy(library, model.inputs, data) == 1.0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (images(4), "no 'label'"),
        ({"label": np.zeros(4, int)}, "Input 'x' is missing"),
        ({**images(4), "label": np.zeros(3, int)}, r"\[3\].*\[4\]"),
        ({**images(4), "label": np.zeros((4, 1), int)}, r"\[4, 1\].*\[4\]"),
        ({"x": images(4)["x"].astype("float64"), "label": np.zeros(4, int)}, "float64"),
    ],
)
def test_labelled_data_that_does_not_fit_is_refused(
    data: dict[str, Array], said: str, model: Model
) -> None:
    with pytest.raises(DataError, match=said):
        labelled(model.inputs, data)


def specs(entries: Any) -> list[dict[str, Any]]:
    return [{"name": e.name, "shape": list(e.shape), "dtype": e.dtype} for e in entries]


@pytest.fixture(scope="module")
def bundle(model: Model, library: Path) -> Bundle:
    manifest = {"inputs": specs(model.inputs), "outputs": specs(model.outputs)}
    return Bundle(library.parent, manifest)


def test_a_bundle_computes_outputs_by_name_for_one_sample_or_many(
    model: Model, bundle: Bundle
) -> None:
    for count in (2, 6):
        outputs = run_bundle(bundle, images(count))
        assert set(outputs) == {"y"}
        [expected] = reference_outputs(model, images(count))
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "Input 'x' is missing"),
        ({"y": images(2)["x"]}, "Input 'x' is missing"),
        ({"x": images(2)["x"][:, :1]}, "float32"),
        ({"x": images(1)["x"]}, "1 samples, but the model takes 2"),
        ({"x": np.float32(3)}, "float32"),
    ],
)
def test_arrays_that_do_not_fit_a_bundle_are_refused(
    arrays: dict[str, Array], said: str, bundle: Bundle
) -> None:
    with pytest.raises(DataError, match=said):
        run_bundle(bundle, arrays)
