"""Kernels as plain C functions: every tensor is a typed pointer, no packed arguments, no runtime.

TVM's own pipeline wraps each PrimFunc in its packed calling convention, which checks arguments and
asks a runtime for workspace. Here a kernel becomes ``void kernel(float *a, ..., float *workspace)``
instead: what calls it is generated along with it, and knows what it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import PointerType, PrimType, TupleType, Var
from tvm.target import Target
from tvm.tirx import AllocBuffer, DeclBuffer, For, ForKind, PrimFunc, SeqStmt

LARGEST_ON_STACK = 128
"""Bytes of a temporary buffer that may live on the stack; larger ones are workspace."""

TENSOR_ALIGNMENT = 16
"""Bytes that every tensor and workspace is aligned to."""

_NO_VALUE = TupleType([])
"""LLVM's verifier refuses ``void`` as a PrimType."""


@dataclass(frozen=True)
class Pointer:
    """A parameter of a kernel.

    Attributes:
        dtype: what it points to.
        shape: extents of the tensor; of a workspace, its number of elements.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of what it points to."""
        return math.prod(self.shape) * _bytes_of(self.dtype)


@dataclass(frozen=True)
class Signature:
    """What a kernel takes: tensors, inputs first and outputs last, and then workspaces."""

    tensors: tuple[Pointer, ...]
    workspaces: tuple[Pointer, ...]

    @property
    def workspace_bytes(self) -> int:
        """Size of all workspaces."""
        return sum(workspace.bytes for workspace in self.workspaces)


def unpacked(
    kernels: Mapping[str, PrimFunc], target: Target, *, vectorize: bool = True
) -> tuple[tvm.IRModule, dict[str, Signature]]:
    """Lower kernels to C functions, up to what TVM's code generators take.

    Args:
        kernels: PrimFuncs, scheduled or not, by the name that their functions shall have.
        target: what to compile for.
        vectorize: whether vector loops become vector operations, or plain loops.

    Returns:
        The lowered module, and what each function takes.
    """
    functions = {
        name: function.without_attr("global_symbol").with_attr("global_symbol", name)
        for name, function in kernels.items()
    }
    lowered = _loops(vectorize)(tirx.transform.BindTarget(target)(tvm.IRModule(functions)))
    signatures = {}
    result = {}
    for variable, function in lowered.functions_items():
        result[variable.name_hint], signatures[variable.name_hint] = _with_pointers(function)
    final = [tirx.transform.LowerTVMBuiltin(), tirx.transform.LowerIntrin()]
    with target:
        return tvm.transform.Sequential(final)(tvm.IRModule(result)), signatures


def _loops(vectorize: bool) -> Any:
    """TVM's pipeline from blocks to loops, without what only GPUs and packed functions need."""
    return tvm.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.BF16ComputeLegalize(),
            tirx.transform.NarrowDataType(32),
            s_tir.transform.LoopPartition(),
            tirx.transform.VectorizeLoop(vectorize),
            tirx.transform.StorageRewrite(),
            s_tir.transform.HoistIfThenElse(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            tirx.transform.CommonSubexprElim(),
        ]
    )


def _with_pointers(function: PrimFunc) -> tuple[PrimFunc, Signature]:
    """Make pointers of a function's tensors and of its large temporary buffers."""
    pointers, declarations, tensors = [], [], []
    for parameter in function.params:
        pointer = _pointer(parameter)
        pointers.append(pointer)
        declarations.append(DeclBuffer(parameter, data=pointer))
        tensors.append(_described(parameter))
    workspaces = []

    def allocate(statement: Any) -> Any:
        described = _described(statement.buffer)
        if described.bytes <= LARGEST_ON_STACK:
            return statement
        pointer = _pointer(statement.buffer)
        pointers.append(pointer)
        workspaces.append(described)
        return DeclBuffer(statement.buffer, data=pointer)

    body = tvm_ffi.structural_map(function.body, ((AllocBuffer, allocate), (For, _serial)))
    kernel = PrimFunc(
        pointers, SeqStmt([*declarations, body]), ret_type=_NO_VALUE, attrs=function.attrs
    )
    return kernel, Signature(tuple(tensors), tuple(workspaces))


def _pointer(buffer: Any) -> Var:
    element = PointerType(PrimType(str(buffer.dtype)), "global")
    return Var(f"{buffer.name}_pointer", element)


def _described(buffer: Any) -> Pointer:
    return Pointer(str(buffer.dtype), tuple(int(extent) for extent in buffer.shape))


def _serial(loop: Any) -> Any:
    """A parallel loop as a plain one; there is one core."""
    if loop.kind != ForKind.PARALLEL:
        return loop
    return For(
        loop.loop_var, loop.min, loop.extent, ForKind.SERIAL, loop.body, None, loop.annotations
    )


def _bytes_of(dtype: str) -> int:
    parsed = tvm.DataType(dtype)
    return int(parsed.bits * parsed.lanes + 7) // 8
