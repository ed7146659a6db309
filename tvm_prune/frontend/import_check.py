"""Checks an imported model against the program it came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from tvm_prune.errors import ExportError, ModelError
from tvm_prune.frontend.agreement import first_line, largest_difference, run
from tvm_prune.model import Array, Model
from tvm_prune.to_onnx import to_onnx

logger = logging.getLogger(__name__)


def check_import(
    model: Model, inputs: Mapping[str, Array], expected: Sequence[Array], reference: str
) -> None:
    """Run a model in ONNX Runtime, which is quick to start, and compare the outputs.

    Args:
        model: the imported model.
        inputs: one array an input.
        expected: what the original program computes.
        reference: who computed that, for the message.

    Raises:
        ModelError: if an output differs.
    """
    try:
        proto = to_onnx(model)
    except ExportError as error:
        logger.debug("the import of '%s' was not compared: %s", model.name, error)
        return
    try:
        outputs = run(proto, inputs)
    except Exception as error:  # the runtime raises whatever its kernels trip over
        logger.warning("ONNX Runtime cannot run '%s': %s", model.name, first_line(error))
        return
    for name, want in zip([spec.name for spec in model.outputs], expected, strict=True):
        difference, allowed = largest_difference(want, outputs[name])
        if not difference <= allowed:
            raise ModelError(
                f"Output '{name}' of the imported model differs from what {reference} computes "
                f"by {difference:.1e} of its largest value; at most {allowed:.0e} is allowed. "
                "Please report this model."
            )
