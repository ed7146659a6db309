"""ONNX files become models: shapes fixed, shape arithmetic folded, weights named."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import tvm
from google.protobuf.message import DecodeError
from tvm import relax
from tvm.relax.frontend import detach_params
from tvm.relax.frontend.onnx import from_onnx

from tvm_prune.errors import ModelError
from tvm_prune.frontend.onnx_graph import (
    one_parameter_per_use,
    sums_to_additions,
    weights_to_initializers,
)
from tvm_prune.model import Array, Model, output_specs, specs_of
from tvm_prune.transform.canonicalize import Canonicalize

logger = logging.getLogger(__name__)

KEEP_NODES = ("FusionConvBN", "FusionConvMul", "FusionConvAdd", "FusionGemm")
EXAMPLE_SHAPE = "--shape input:1,3,224,224"


def load_onnx(
    source: Path | onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Model:
    """Read an ONNX model into Relax.

    Args:
        source: path of an .onnx file, or a model in memory.
        shapes: input shapes that replace the ones in the file, dynamic ones above all.

    Raises:
        ModelError: if the file is missing, not ONNX, malformed, has a dynamic shape that `shapes`
            does not fix, or uses an operator that TVM cannot import.
    """
    proto = _read(source) if isinstance(source, Path) else copy.deepcopy(source)
    name = source.stem if isinstance(source, Path) else proto.graph.name or "model"
    _check(proto, name)
    _fix_shapes(proto, shapes or {})
    proto = sums_to_additions(weights_to_initializers(_simplify(proto)))
    proto = one_parameter_per_use(proto)
    module, values = _import(proto)
    function = module["main"]
    inputs = tuple(value.name for value in proto.graph.input)
    outputs = tuple(value.name for value in proto.graph.output)
    names = [parameter.name for parameter in function.params[len(inputs) :]]
    return Model(
        name=name,
        module=module,
        parameters=dict(zip(names, values, strict=True)),
        inputs=specs_of(function, inputs),
        outputs=output_specs(function, outputs),
        source=proto,
    )


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
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"The ONNX model '{name}' is malformed: {first}") from error


def _graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that the user gives; old files list the weights among the inputs as well."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _fix_shapes(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    inputs = {value.name: value for value in _graph_inputs(proto)}
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise ModelError(
            f"The model has no input '{unknown[0]}'; its inputs are {', '.join(sorted(inputs))}."
        )
    for name, value in inputs.items():
        dims = value.type.tensor_type.shape.dim
        if name in shapes:
            if len(dims) not in (0, len(shapes[name])):
                raise ModelError(
                    f"Input '{name}' has {len(dims)} axes, but the given shape "
                    f"{list(shapes[name])} has {len(shapes[name])}."
                )
            value.type.tensor_type.shape.CopyFrom(
                onnx.TensorShapeProto(
                    dim=[onnx.TensorShapeProto.Dimension(dim_value=n) for n in shapes[name]]
                )
            )
        elif not dims or any(dim.dim_value <= 0 for dim in dims):
            found = ",".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims) or "?"
            fixed = ",".join(str(dim.dim_value) if dim.dim_value > 0 else "1" for dim in dims)
            raise ModelError(
                f"Input '{name}' has the dynamic shape [{found}]; fix it, for example with "
                f"--shape {name}:{fixed or '1,3,224,224'}."
            )
    if shapes:
        _forget_shapes(proto)


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Shapes inside the graph were inferred from the old input shapes."""
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _simplify(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Fold shape arithmetic and generated weights; batch norms and biases stay as they are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return onnxslim.slim(
                proto,
                skip_fusion_patterns=list(KEEP_NODES),
                skip_optimizations=["weight_tying"],
                verbose=False,
            )
    except Exception as error:  # the simplifier raises whatever its own code trips over
        logger.warning("onnxslim could not simplify the model (%s); going on without.", error)
        return proto


def _import(proto: onnx.ModelProto) -> tuple[Any, list[Array]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = from_onnx(proto, keep_params_in_input=True, sanitize_input_names=False)
    except Exception as error:  # the importer raises many types, each about the model
        raise ModelError(_import_failure(proto, error)) from error
    module, parameters = detach_params(module)
    module = tvm.transform.Sequential([Canonicalize()])(module)
    dynamic = [
        parameter.name
        for parameter in module["main"].params
        if not isinstance(parameter.ty, relax.TensorType) or parameter.ty.shape is None
    ]
    if dynamic:
        raise ModelError(f"The shape of {dynamic[0]} is not static; fix it with {EXAMPLE_SHAPE}.")
    values = [np.asarray(value.numpy()) for value in parameters.get("main", [])]
    return _without_unused(module, values)


def _without_unused(module: Any, values: list[Array]) -> tuple[Any, list[Array]]:
    """Drop parameters that the importer has read already, such as the scales of a resize."""
    function = module["main"]
    inputs = len(function.params) - len(values)
    used = set(relax.analysis.free_vars(function.body))
    weights = list(zip(function.params[inputs:], values, strict=True))
    kept = [(parameter, value) for parameter, value in weights if parameter in used]
    parameters = [*function.params[:inputs], *(parameter for parameter, _ in kept)]
    module["main"] = relax.Function(
        parameters, function.body, function.ret_ty, function.is_pure, function.attrs
    )
    return module, [value for _, value in kept]


def _import_failure(proto: onnx.ModelProto, error: Exception) -> str:
    text = str(error)
    unsupported = re.search(r"not supported for frontend ONNX:\s*(.+)", text)
    if unsupported:
        ops = {op.strip(" '\"") for op in re.split(r"[,\s]+", unsupported.group(1)) if op}
        nodes = [
            f"{node.op_type} (node '{node.name or node.output[0]}')"
            for node in proto.graph.node
            if node.op_type in ops
        ]
        named = ", ".join(nodes[:3]) or ", ".join(sorted(ops))
        return (
            f"The model uses {named}, which TVM cannot import; "
            "export it with operators that TVM knows, or cut that part off the model."
        )
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return f"TVM cannot import this model: {first}"
