"""Writes a Relax model as an ONNX model with the same parameters."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper
from tvm import relax

from tvm_prune.errors import ExportError
from tvm_prune.model import Model, TensorSpec
from tvm_prune.to_onnx.fusion import find_layers
from tvm_prune.to_onnx.graph import Graph, Names, tensor, tensor_info
from tvm_prune.to_onnx.naming import bindings_of, result_names, results_of
from tvm_prune.to_onnx.ops import CONVERTERS
from tvm_prune.to_onnx.rule import Converter, OpExport, Value, static_shape

LIMIT = 2**31 - 2**24
"""Bytes of parameters that a protobuf message of two gigabytes has room for."""

OLDEST_IR = 8


def to_onnx(model: Model) -> onnx.ModelProto:
    """Write a model as ONNX.

    The result has the model's input and output names, its parameters as the only initializers
    under their own names, and every other tensor under the name of the Relax variable; pruning
    keeps those names. Batch norms and dropouts take the form they have at inference. The opset is
    18, or the oldest newer one that has every op of the model (20 for Gelu, 21 for group and 23
    for RMS normalization).

    Args:
        model: a model with static shapes.

    Raises:
        ExportError: if ONNX has no equivalent for an op, one of its attributes or a dtype, or the
            parameters do not fit into one ONNX file (2 GB).
    """
    size = sum(value.nbytes for value in model.parameters.values())
    if size > LIMIT:
        raise ExportError(
            f"The parameters of '{model.name}' take {size / 2**30:.1f} GB, but an ONNX model in "
            "memory holds at most 2 GB; prune more, or use float16 parameters."
        )
    return _Writer(model).proto()


class _Writer:
    """Writes binding after binding."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.function = model.module["main"]
        count = len(model.inputs)
        inputs, parameters = self.function.params[:count], self.function.params[count:]
        self.values: dict[Any, Value] = {
            **{variable: spec.name for variable, spec in zip(inputs, model.inputs, strict=True)},
            **{variable: variable.name for variable in parameters},
        }
        given = [spec.name for spec in (*model.inputs, *model.outputs)]
        self.graph = Graph(Names([*given, *(variable.name for variable in parameters)]))
        self.layers = find_layers(self.function, set(parameters))
        outputs = [spec.name for spec in model.outputs]
        self.result_names = result_names(self.function, outputs, self.graph.names)
        self.info: dict[str, onnx.ValueInfoProto] = {}

    def proto(self) -> onnx.ModelProto:
        """The finished model."""
        absorbed = {variable for layer in self.layers.values() for variable in layer.absorbed}
        for variable, value in bindings_of(self.function):
            if variable not in absorbed:
                self.values[variable] = self._binding(variable, value)
        self._bind_outputs()
        imports = [helper.make_opsetid("", self.graph.opset())]
        return helper.make_model(
            self._graph_proto(),
            opset_imports=imports,
            ir_version=max(OLDEST_IR, helper.find_min_ir_version_for(imports)),
            producer_name="tvm-prune",
        )

    def _binding(self, variable: Any, value: Any) -> Value:
        layer = self.layers.get(variable)
        if layer is not None:
            return self._call(variable, layer.call, layer.convert)
        if not isinstance(value, relax.Call):
            return self._reader(variable.name, value).resolve(value)
        convert = CONVERTERS.get(getattr(value.op, "name", ""))
        if convert is None:
            raise ExportError(
                f"ONNX has no equivalent for {_callee(value)}, which computes '{variable.name}'; "
                "replace it in the model by ops that ONNX has."
            )
        return self._call(variable, value, convert)

    def _call(self, variable: Any, call: Any, convert: Converter) -> Value:
        result = self.result_names[variable]
        start = len(self.graph.nodes)
        value = convert(self._reader(result.name, call))
        if isinstance(value, tuple):
            final = result.fields or ()
            fields = zip(value, final, variable.ty.fields, strict=True)
            return tuple(self._named(start, field, name, ty) for field, name, ty in fields)
        return self._named(start, value, result.name, variable.ty)

    def _named(self, start: int, value: Value, name: str, ty: Any) -> Value:
        """Give a result its final name, unless it is the result of an earlier binding."""
        computed = any(value in node.outputs for node in self.graph.nodes[start:])
        if not isinstance(value, str) or not computed:
            return value
        self.graph.rename(start, {value: name})
        if ty.shape is not None:
            self.info[name] = tensor_info(name, static_shape(ty), str(ty.dtype))
        return name

    def _reader(self, name: str, value: Any) -> OpExport:
        return OpExport(value, name, self.graph, self.values)

    def _bind_outputs(self) -> None:
        """Outputs that are inputs, parameters or other outputs as well get a name of their own."""
        for spec, expr in zip(self.model.outputs, results_of(self.function), strict=True):
            value = self._reader(spec.name, expr).value(expr)
            if value != spec.name:
                self.graph.node("Identity", (value,), (spec.name,), {})

    def _graph_proto(self) -> onnx.GraphProto:
        model = self.model
        ends = {spec.name for spec in model.outputs}
        return helper.make_graph(
            [node.proto() for node in self.graph.nodes],
            model.name,
            [_spec_info(spec) for spec in model.inputs],
            [_spec_info(spec) for spec in model.outputs],
            initializer=[tensor(name, value) for name, value in model.parameters.items()],
            value_info=[info for name, info in self.info.items() if name not in ends],
        )


def _spec_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return tensor_info(spec.name, spec.shape, spec.dtype)


def _callee(call: Any) -> str:
    op = str(getattr(call.op, "name", call.op)).removeprefix("relax.")
    if op == "call_tir":
        return f"the function '{call.args[0].name_hint}'"
    return f"the op '{op}'"
