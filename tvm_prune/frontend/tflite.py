"""TFLite flatbuffers become models, their weights parameters under the flatbuffer's names."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.tflite import tflite_frontend

from tvm_prune.errors import ModelError
from tvm_prune.frontend.agreement import first_line
from tvm_prune.frontend.functions import finished_model
from tvm_prune.model import Array, Model

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every TFLite file."""
REAL = ("float16", "float32", "float64")
FLOAT = "convert the model in floating point, prune it, and quantize the pruned model"


def load_tflite(
    path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, *, keep_tied: bool = False
) -> Model:
    """Read a TFLite model into Relax.

    Activations stay in the layout of the file, batch, height, width, channel. A weight has the
    axes that its operator works with: height, width, input and output channel for a convolution.

    Args:
        path: path of a .tflite file in floating point.
        shapes: input shapes, which must be those of the file: a TFLite file holds the shape of
            every tensor in it.
        keep_tied: keep a weight that several operators share as one parameter.

    Raises:
        ModelError: if the file is missing, no TFLite model, quantized or sparse, has other input
            shapes, or uses an operator that TVM cannot import; or if the package `tflite` is
            missing.
    """
    model = _read(path)
    subgraph = _subgraph(model, path)
    _refuse_packed(subgraph, path)
    _require_shapes(subgraph, shapes or {})
    table: list[_WeightTable] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = tflite_frontend.from_tflite(model, op_converter=_converter(table, keep_tied))
    except Exception as error:  # the importer raises many types, each about the model
        raise ModelError(_import_failure(subgraph, error)) from error
    (weights,) = table
    function = module["main"]
    inputs = len(function.params)
    parameters = [*function.params, *weights.variables]
    module["main"] = relax.Function(
        parameters, function.body, function.ret_ty, function.is_pure
    ).with_attrs({"global_symbol": "main", "num_input": inputs})
    values = {variable.name: value for variable, value in weights.variables.items()}
    outputs = [_name(subgraph, int(index)) for index in subgraph.OutputsAsNumpy()]
    return finished_model(path.stem, module, values, outputs, keep_tied=keep_tied)


class _WeightTable(tflite_frontend.ExprTable):  # type: ignore[misc]
    """Values by name, where floating constants with axes are variables."""

    def __init__(self, keep_tied: bool) -> None:
        super().__init__()
        self.keep_tied = keep_tied
        self.variables: dict[Any, Array] = {}
        self.shared: dict[str, Any] = {}

    def new_const(
        self, value: Any, shape: Any = None, dtype: str = "float32", source_name: Any = None
    ) -> Any:
        array = np.array(value)
        if dtype not in REAL or array.ndim == 0 or not source_name:
            return super().new_const(value, shape, dtype, source_name)
        name = source_name.decode() if isinstance(source_name, bytes) else str(source_name)
        if self.keep_tied and name in self.shared:
            same = self.shared[name]
            if np.array_equal(self.variables[same], array):
                return same
        variable = relax.Var(self._free(name), relax.TensorType(array.shape, dtype))
        self.variables[variable] = array.astype(dtype, copy=False)
        return self.shared.setdefault(name, variable) if self.keep_tied else variable

    def _free(self, name: str) -> str:
        taken = {variable.name for variable in self.variables}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}#{number}"
        return free


def _converter(table: list[_WeightTable], keep_tied: bool) -> type:
    """The importer's converter, with weights in a table that is put into the list."""

    class Converter(tflite_frontend.OperatorConverter):  # type: ignore[misc]
        def __init__(self, model: Any, subgraph: Any, expressions: Any, builder: Any) -> None:
            weights = _WeightTable(keep_tied)
            weights.exprs = expressions.exprs
            table.append(weights)
            super().__init__(model, subgraph, weights, builder)

    return Converter


def _read(path: Path) -> Any:
    try:
        import tflite
    except ImportError as error:
        raise ModelError(
            "TFLite files need the package tflite; install it with: pip install 'tvm-prune[tflite]'"
        ) from error
    if not path.is_file():
        raise ModelError(f"There is no file {path}; give the path of a .tflite model.")
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ModelError(
            f"{path} is not a TFLite model ({len(content)} bytes without the mark "
            f"{IDENTIFIER.decode()}); convert one, for example with tf.lite.TFLiteConverter."
        )
    return tflite.Model.GetRootAsModel(content, 0)


def _subgraph(model: Any, path: Path) -> Any:
    """The graph of a file, once all of it could be read."""
    try:
        count = model.SubgraphsLength()
        subgraph = model.Subgraphs(0) if count else None
        for index in range(model.BuffersLength()):
            model.Buffers(index).DataAsNumpy()
        if subgraph is not None:
            for index in range(subgraph.TensorsLength()):
                subgraph.Tensors(index).Name().decode()
            for index in range(subgraph.OperatorsLength()):
                subgraph.Operators(index).OutputsAsNumpy()
    except (struct.error, ValueError, IndexError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{path} is a damaged TFLite model ({first_line(error)}); copy or convert it again."
        ) from error
    if subgraph is None or not subgraph.OperatorsLength():
        raise ModelError(f"{path} is not a TFLite model: it holds no graph.")
    return subgraph


def _refuse_packed(subgraph: Any, path: Path) -> None:
    """Weights of a few bits, or without their zeros, are no numbers that can be scored."""
    from tflite import TensorType

    small = {TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.INT4}
    for index in range(subgraph.TensorsLength()):
        tensor = subgraph.Tensors(index)
        quantization = tensor.Quantization()
        scaled = quantization is not None and quantization.ScaleLength() > 0
        if scaled and tensor.Type() in small:
            raise ModelError(
                f"{path} is quantized (tensor '{tensor.Name().decode()}' has integers of eight or "
                f"sixteen bits); {FLOAT}."
            )
        if tensor.Sparsity() is not None:
            raise ModelError(
                f"{path} holds the sparse tensor '{tensor.Name().decode()}'; convert the model "
                "with dense weights."
            )


def _require_shapes(subgraph: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {
        _name(subgraph, int(index)): tuple(
            int(extent) for extent in subgraph.Tensors(int(index)).ShapeAsNumpy()
        )
        for index in subgraph.InputsAsNumpy()
        if subgraph.Tensors(int(index)).ShapeLength()
    }
    for name, shape in shapes.items():
        if name not in found:
            raise ModelError(
                f"The model has no input '{name}'; its inputs are {', '.join(sorted(found))}."
            )
        if tuple(shape) != found[name]:
            raise ModelError(
                f"Input '{name}' has the shape {list(found[name])} in the file, not {list(shape)}; "
                "a TFLite file holds the shape of every tensor, so convert the model again with "
                "the shape you want."
            )


def _name(subgraph: Any, index: int) -> str:
    return str(tflite_frontend.get_tensor_name(subgraph, index))


def _import_failure(subgraph: Any, error: Exception) -> str:
    unsupported = re.search(r"not supported in frontend TFLite: (.+)", str(error))
    if unsupported:
        return (
            f"The model uses {unsupported.group(1).replace(chr(39), '')}, which TVM cannot import; "
            "convert it with operators that TVM knows, or cut that part off the model."
        )
    if "dynamic range" in str(error):
        return f"The weights of the model are quantized; {FLOAT}."
    return f"TVM cannot import this model: {first_line(error)}"
