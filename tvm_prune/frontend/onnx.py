"""ONNX files become models: shapes fixed, shape arithmetic folded, weights named."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from google.protobuf.message import DecodeError
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from tvm_prune.errors import ExportError, ModelError
from tvm_prune.frontend.agreement import Reference, first_line
from tvm_prune.frontend.onnx_graph import copy_of, readable
from tvm_prune.frontend.onnx_shapes import fix_shapes
from tvm_prune.frontend.onnx_unsupported import described, refuse_branches, refuse_unsupported
from tvm_prune.frontend.onnx_weights import one_parameter_per_use, set_inputs
from tvm_prune.frontend.simplify import Form, simplified_forms
from tvm_prune.model import Model, output_specs, specs_of
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform.canonicalize import Canonicalize

logger = logging.getLogger(__name__)

EXAMPLE_SHAPE = "--shape input:1,3,224,224"


def load_onnx(
    source: Path | onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    keep_tied: bool = False,
) -> Model:
    """Read an ONNX model into Relax.

    What is imported is compared with the file itself in ONNX Runtime on random inputs.

    Args:
        source: path of an .onnx file, or a model in memory.
        shapes: input shapes that replace the ones in the file, dynamic ones above all.
        keep_tied: keep a weight that several nodes share as one parameter, whose channels then
            live or die together everywhere. Otherwise each node gets its own copy.

    Raises:
        ModelError: if the file is missing, not ONNX, malformed, has a dynamic shape that `shapes`
            does not fix, or uses an operator that TVM cannot import.
    """
    proto = _read(source) if isinstance(source, Path) else copy.deepcopy(source)
    name = source.stem if isinstance(source, Path) else proto.graph.name or "model"
    proto = readable(proto)
    _check(proto, name)
    refuse_unsupported(proto, name)
    fix_shapes(proto, shapes or {})
    reference = Reference.of(proto)
    failures = []
    for form in simplified_forms(proto):
        try:
            if reference is not None:
                reference.require(form.proto, form.how, form.rounding)
            model = _model(name, form, keep_tied)
            if reference is not None:
                _require_same_results(model, reference, form)
            return model
        except ModelError as error:
            logger.debug("%s cannot be used: %s", form.how, error)
            failures.append(error)
    raise failures[0]


def _read(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise ModelError(f"There is no file {path}; give the path of an .onnx model.")
    if path.is_dir():
        raise ModelError(f"{path} is a directory; give the path of an .onnx file.")
    try:
        proto = onnx.load(path)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX model ({path.stat().st_size} bytes that do not parse); "
            "export one, for example with torch.onnx.export."
        ) from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"Cannot read {path}: {error}") from error
    if not proto.graph.node:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph.")
    return proto


def _check(proto: onnx.ModelProto, name: str) -> None:
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"The ONNX model '{name}' is malformed: {first_line(error)}") from error
    except ValueError as error:  # more than protobuf can hold in one message
        logger.debug("The ONNX model '%s' is too large to be checked: %s", name, error)


def _model(name: str, form: Form, keep_tied: bool) -> Model:
    """Import one form of the file."""
    proto, weights = copy_of(form.proto), dict(form.weights)
    refuse_branches(proto)
    if not keep_tied:
        one_parameter_per_use(proto, weights)
        set_inputs(proto, proto.graph.input[: form.input_count], weights)
    module = _import(proto, form.input_count)
    function = module["main"]
    inputs = tuple(value.name for value in proto.graph.input[: form.input_count])
    outputs = tuple(value.name for value in proto.graph.output)
    names = [parameter.name for parameter in function.params[form.input_count :]]
    return Model(
        name=name,
        module=module,
        parameters={name: np.ascontiguousarray(weights[name]) for name in names},
        inputs=specs_of(function, inputs),
        outputs=output_specs(function, outputs),
    )


def _require_same_results(model: Model, reference: Reference, form: Form) -> None:
    try:
        written = to_onnx(model)
    except ExportError as error:
        logger.debug("The imported model is not compared with the file: %s", error)
        return
    reference.require(written, "The imported model", form.rounding)


def _import(proto: onnx.ModelProto, input_count: int) -> Any:
    """A module whose weights are parameters after its inputs."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = from_onnx(proto, sanitize_input_names=False)
    except Exception as error:  # the importer raises many types, each about the model
        raise ModelError(_import_failure(proto, error)) from error
    module["main"] = module["main"].with_attr("num_input", input_count)
    _require_static(module)
    module = tvm.transform.Sequential([Canonicalize()])(module)
    return _without_unused(module, input_count)


def _require_static(module: Any) -> None:
    dynamic = [
        parameter.name
        for parameter in module["main"].params
        if not isinstance(parameter.ty, relax.TensorType) or parameter.ty.shape is None
    ]
    if dynamic:
        raise ModelError(f"The shape of {dynamic[0]} is not static; fix it with {EXAMPLE_SHAPE}.")


def _without_unused(module: Any, input_count: int) -> Any:
    """Drop parameters that nothing reads."""
    function = module["main"]
    used = set(relax.analysis.free_vars(function.body))
    weights = [parameter for parameter in function.params[input_count:] if parameter in used]
    module["main"] = relax.Function(
        [*function.params[:input_count], *weights],
        function.body,
        function.ret_ty,
        function.is_pure,
        function.attrs,
    )
    return module


def _import_failure(proto: onnx.ModelProto, error: Exception) -> str:
    text = str(error)
    unsupported = re.search(r"not supported for frontend ONNX:\s*(.+)", text)
    if unsupported:
        ops = {op.strip(" '\"") for op in re.split(r"[,\s]+", unsupported.group(1)) if op}
        nodes = [described(node) for node in proto.graph.node if node.op_type in ops]
        named = ", ".join(nodes[:3]) or ", ".join(sorted(ops))
        return (
            f"The model uses {named}, which TVM cannot import; "
            "export it with operators that TVM knows, or cut that part off the model."
        )
    return f"TVM cannot import this model: {first_line(error)}"
