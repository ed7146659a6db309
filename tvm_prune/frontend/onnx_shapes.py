"""Input shapes of ONNX models: every axis gets a number before anything else happens."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from tvm_prune.errors import ModelError


def fix_shapes(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give every input its static shape.

    Args:
        proto: the model, which is changed.
        shapes: shapes that replace the ones in the file.

    Raises:
        ModelError: if a shape fits no input, or an input is still dynamic.
    """
    inputs = {value.name: value for value in _graph_inputs(proto)}
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise ModelError(
            f"The model has no input '{unknown[0]}'; its inputs are {', '.join(sorted(inputs))}."
        )
    for name, value in inputs.items():
        if name in shapes:
            _set_shape(value, tuple(shapes[name]))
        else:
            _require_static(value)
    if shapes:
        _forget_shapes(proto)


def _graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that the user gives; old files list the weights among the inputs as well."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(shape):
        raise ModelError(
            f"Input '{value.name}' has {len(tensor.shape.dim)} axes, but the given shape "
            f"{list(shape)} has {len(shape)}."
        )
    if any(extent < 1 for extent in shape):
        raise ModelError(
            f"The shape {list(shape)} given for input '{value.name}' must hold whole numbers "
            "from 1 on."
        )
    dims = [onnx.TensorShapeProto.Dimension(dim_value=extent) for extent in shape]
    tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=dims))


def _require_static(value: onnx.ValueInfoProto) -> None:
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    if tensor.HasField("shape") and all(dim.dim_value > 0 for dim in dims):
        return
    found = ",".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims) or "?"
    fixed = ",".join(str(dim.dim_value) if dim.dim_value > 0 else "1" for dim in dims)
    raise ModelError(
        f"Input '{value.name}' has the dynamic shape [{found}]; fix it, for example with "
        f"--shape {value.name}:{fixed or '1,3,224,224'}."
    )


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Shapes inside the graph were inferred from the old input shapes."""
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
