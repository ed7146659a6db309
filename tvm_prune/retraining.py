"""Back from training: the same plan with other weights, compiled as before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.deployment import deploy_model
from tvm_prune.errors import DataError
from tvm_prune.model import Array, Model, bound_inputs
from tvm_prune.progress import Progress, Silent
from tvm_prune.result import PruneResult
from tvm_prune.settings import Settings
from tvm_prune.transform import pruned_model
from tvm_prune.verification import accuracy, labelled
from tvm_prune.workflow import opened


def rebuild(
    model: Model,
    result: PruneResult,
    parameters: Mapping[str, Any],
    *,
    calibration: Mapping[str, NDArray[Any]],
    evaluation: Mapping[str, NDArray[Any]] | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Compile, verify and measure a pruned model with fine-tuned weights.

    Schedules and measurements come from the cache of the run that made the plan; nothing is tuned
    again.

    Args:
        model: the dense model that the plan was made for.
        result: what :func:`tvm_prune.prune` returned.
        parameters: the pruned model's new weights by name, arrays or tensors: a ``state_dict()``.
            What the model does not have is left aside.
        calibration: samples stacked along the first axis, by input name; the compiled model is
            compared with ONNX Runtime on some of them.
        evaluation: labelled samples (``label``) to tell the accuracy.
        settings: those of the run.
        progress: receives the steps of the run.

    Raises:
        DataError: if a weight is missing or has another shape than the pruned model's.
        PruneError: any other error of this package.
    """
    settings = settings or Settings()
    values = _checked(parameters, result.model.parameters)
    calibration = bound_inputs(model.inputs, calibration, batch=True)
    evaluation = labelled(model.inputs, evaluation) if evaluation is not None else None
    with opened(model, result.board, settings, progress or Silent()) as search:
        search.tune()
        trained = pruned_model(model, result.plan, values)
        with search.progress.step("compiling and verifying", 3) as step:
            deployed = deploy_model(search, result.plan, trained, calibration, step)
        is_labelled, board = evaluation is not None, search.session.measurer
        return replace(
            result,
            model=trained,
            latency=deployed.latency,
            dense_latency=deployed.dense_latency,
            accuracy=accuracy(deployed.library, model.inputs, evaluation or {}, board)
            if is_labelled
            else None,
            verification=deployed.verification,
            library=deployed.library.read_bytes(),
        )


def _checked(parameters: Mapping[str, Any], old: Mapping[str, Array]) -> dict[str, Array]:
    values = {}
    for name, before in old.items():
        if name not in parameters:
            raise DataError(
                f"The weight '{name}' is missing; give all that the pruned model has, for example "
                "module.state_dict()."
            )
        given = parameters[name]
        value = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        if value.shape != before.shape:
            raise DataError(
                f"The weight '{name}' has the shape {list(value.shape)}, but the pruned model's is "
                f"{list(before.shape)}; was it pruned by the same plan?"
            )
        values[name] = value.astype(before.dtype)
    return values
