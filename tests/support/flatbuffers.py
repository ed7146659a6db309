"""Small TFLite models, written operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Array = NDArray[Any]

DTYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
}


class Flatbuffer:
    """A TFLite model while it is being written; values are numbers of tensors."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def value(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> int:
        """A tensor that is computed."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), DTYPES[dtype], 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> int:
        number = self.value(name, shape, dtype)
        self.graph.inputs.append(number)
        return number

    def constant(self, name: str, array: Array) -> int:
        """A tensor that the file holds."""
        number = self.value(name, array.shape, str(array.dtype))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), "uint8")
        self.model.buffers.append(buffer)
        self.graph.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def operator(
        self, kind: str, inputs: list[int], name: str, shape: tuple[int, ...], **options: Any
    ) -> int:
        """Add an operator; the options are attributes of its option table."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, result = inputs, self.value(name, shape)
        operator.outputs = [result]
        if kind in OPTIONS:
            operator.builtinOptions = getattr(schema, f"{OPTIONS[kind]}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, OPTIONS[kind])
            for option, setting in options.items():
                assert hasattr(operator.builtinOptions, option)
                setattr(operator.builtinOptions, option, setting)
        self.graph.operators.append(operator)
        return result

    def content(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, path: Path, *outputs: int) -> Path:
        path.write_bytes(self.content(*outputs))
        return path


OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
}
"""Name of the option table of each operator that has one."""
