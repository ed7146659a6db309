"""The converter table: one row an op says how it is written in ONNX."""

from __future__ import annotations

from tvm_prune.to_onnx.ops.activation import ACTIVATION
from tvm_prune.to_onnx.ops.contraction import CONTRACTION
from tvm_prune.to_onnx.ops.creation import CREATION
from tvm_prune.to_onnx.ops.elementwise import ELEMENTWISE
from tvm_prune.to_onnx.ops.image import IMAGE
from tvm_prune.to_onnx.ops.indexing import INDEXING
from tvm_prune.to_onnx.ops.movement import MOVEMENT
from tvm_prune.to_onnx.ops.normalization import NORMALIZATION
from tvm_prune.to_onnx.ops.pooling import POOLING
from tvm_prune.to_onnx.ops.quantization import QUANTIZATION
from tvm_prune.to_onnx.ops.reduction import REDUCTION
from tvm_prune.to_onnx.rule import ConverterTable

CONVERTERS: ConverterTable = {
    **ACTIVATION,
    **CONTRACTION,
    **CREATION,
    **ELEMENTWISE,
    **IMAGE,
    **INDEXING,
    **MOVEMENT,
    **NORMALIZATION,
    **POOLING,
    **QUANTIZATION,
    **REDUCTION,
}

__all__ = ["CONVERTERS"]
