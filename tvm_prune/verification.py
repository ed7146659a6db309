"""Checks a compiled model against an independent reference, and tells its accuracy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.activations import activations
from tvm_prune.errors import (
    BundleError,
    DataError,
    ExportError,
    MeasureError,
    VerificationError,
)
from tvm_prune.export import Bundle
from tvm_prune.measure import run_executable_batches
from tvm_prune.measurement import ModelRunner
from tvm_prune.model import Model, TensorSpec, bound_inputs, split_batches
from tvm_prune.target import host_cpu
from tvm_prune.to_onnx import to_onnx

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

TOLERANCE = 1e-4
SAMPLES = 16
LABEL = "label"


@dataclass(frozen=True)
class Verification:
    """How far a compiled model is from its reference.

    Attributes:
        reference: what computed the reference.
        samples: number of inputs compared.
        max_relative_error: largest difference relative to the largest reference value.
    """

    reference: str
    samples: int
    max_relative_error: float


def verify(
    library: Path,
    references: Mapping[str, Model],
    inputs: Arrays,
    board: ModelRunner | None = None,
) -> Verification:
    """Compare a compiled model with others that have to compute the same, in ONNX Runtime.

    Args:
        library: the compiled model.
        references: the models to compare with, by what to call them.
        inputs: samples stacked along the first axis of each input.
        board: runs the compiled model; this machine by default.

    Raises:
        VerificationError: if an output differs by more than 1e-4 of the largest value.
    """
    specs = next(iter(references.values())).inputs
    batch = (*specs[0].shape, 1)[0]
    count = -(-SAMPLES // batch) * batch
    few = {name: array[:count] for name, array in inputs.items()}
    outputs = run_batches(library, specs, few, board)
    worst, runtimes = 0.0, set()
    for name, model in references.items():
        expected, runtime = _reference(model, few)
        worst = max(worst, checked_error(name, model.outputs, expected, outputs))
        runtimes.add(runtime)
    compared = len(few[specs[0].name]) // batch * batch
    compared_with = " and ".join(f"the {name}" for name in references)
    description = f"{compared_with} in {', '.join(sorted(runtimes))}"
    return Verification(description, compared, worst)


def checked_error(
    name: str,
    specs: tuple[TensorSpec, ...],
    reference: list[NDArray[Any]],
    outputs: list[NDArray[Any]],
) -> float:
    """Largest difference, relative to the largest reference value of its output.

    Args:
        name: what the reference is called in an error.
        specs: the outputs' names.
        reference: the outputs as they should be.
        outputs: the outputs of the compiled model.

    Raises:
        VerificationError: if an output differs by more than 1e-4 of the largest value.
    """
    worst = 0.0
    for spec, expected, actual in zip(specs, reference, outputs, strict=True):
        scale = float(np.abs(expected).max()) or 1.0
        error = float(np.abs(actual.astype(np.float64) - expected).max()) / scale
        if not error <= TOLERANCE:
            raise VerificationError(
                f"Output '{spec.name}' of the compiled model differs from the {name} by "
                f"{error:.2e} of its largest value; at most {TOLERANCE:.0e} is allowed. "
                "Nothing was written; please report this model."
            )
        worst = max(worst, error)
    return worst


def _reference(model: Model, inputs: Arrays) -> tuple[list[NDArray[Any]], str]:
    """Outputs of a model, and what computed them."""
    try:
        return reference_outputs(model, inputs), "ONNX Runtime"
    except ExportError as error:
        logger.info("verifying with TVM instead of ONNX Runtime: %s", error)
    machine = relax.VirtualMachine(tvm.compile(model.bound(), "llvm"), tvm.cpu())
    outputs = []
    for batch in split_batches(model.inputs, inputs):
        result = machine["main"](*(tvm.runtime.tensor(batch[spec.name]) for spec in model.inputs))
        outputs.append([result] if len(model.outputs) == 1 else list(result))
    stacked = [
        np.concatenate([part.numpy() for part in parts]) for parts in zip(*outputs, strict=True)
    ]
    return stacked, "TVM without schedules"


def reference_outputs(model: Model, inputs: Arrays) -> list[NDArray[Any]]:
    """Outputs of a model for stacked samples, computed by ONNX Runtime.

    Raises:
        ExportError: if ONNX cannot express the model.
    """
    names = [spec.name for spec in model.outputs]
    return activations(to_onnx(model), {}, names, split_batches(model.inputs, inputs))


def run_batches(
    library: Path,
    specs: tuple[TensorSpec, ...],
    inputs: Arrays,
    board: ModelRunner | None = None,
) -> list[NDArray[Any]]:
    """Outputs of a compiled model for stacked samples, each output stacked again.

    They are computed by a board, or by this machine where none is given.
    """
    batches = split_batches(specs, inputs)
    outputs = (
        board.run_model(library, batches) if board else run_executable_batches(library, batches)
    )
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def labelled(specs: tuple[TensorSpec, ...], data: Arrays) -> Arrays:
    """Check labelled data before the long work begins.

    Raises:
        DataError: if an input or the array ``label`` is missing or does not fit.
    """
    inputs = bound_inputs(specs, data, batch=True)
    count = inputs[specs[0].name].shape[0]
    if LABEL not in data:
        raise DataError(
            f"The evaluation data holds {sorted(data)}, but no '{LABEL}' (the class of every "
            "sample, integers)."
        )
    labels = np.asarray(data[LABEL])
    if labels.shape != (count,):
        raise DataError(
            f"The array '{LABEL}' has the shape {list(labels.shape)}; it must be [{count}], one "
            "class a sample."
        )
    return {**inputs, LABEL: labels}


def accuracy(
    library: Path,
    specs: tuple[TensorSpec, ...],
    data: Arrays,
    board: ModelRunner | None = None,
) -> float:
    """Share of samples of :func:`labelled` data whose largest output is their label, 0..1."""
    return _share_of_hits(run_batches(library, specs, data, board)[0], data)


def reference_accuracy(model: Model, data: Arrays) -> float:
    """The same of a model that is not compiled."""
    return _share_of_hits(_reference(model, data)[0][0], data)


def _share_of_hits(logits: NDArray[Any], data: Arrays) -> float:
    labels = data[LABEL][: len(logits)]
    return float((logits.reshape(len(logits), -1).argmax(axis=1) == labels).mean())


def run_bundle(bundle: Bundle, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs of a bundle, by name, for one sample or for many stacked ones.

    Raises:
        DataError: if the arrays do not fit the inputs that the manifest names.
        BundleError: if it does not run because it was built for another CPU.
        MeasureError: if it does not run for any other reason.
    """
    inputs = bound_inputs(bundle.inputs, arrays, batch=True)
    try:
        outputs = run_batches(bundle.library, bundle.inputs, inputs)
    except MeasureError as error:
        built_for, here = bundle.manifest["target"].get("mcpu"), host_cpu()
        if built_for in (None, here):
            raise
        raise BundleError(
            f"The bundle was built for the CPU '{built_for}' and does not run on this one "
            f"('{here}'): {error}. Prune the model again here."
        ) from error
    return {spec.name: output for spec, output in zip(bundle.outputs, outputs, strict=True)}
