"""A compiled model as C files: kernels, weights, and a function that calls one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.errors import ExportError
from tvm_prune.mcu.emit import header, source, weights_assembly, weights_image
from tvm_prune.mcu.footprint import function_of
from tvm_prune.mcu.in_place import kernels_in_place, places_taken
from tvm_prune.mcu.kernels import CODES, Kernels, compile_kernels
from tvm_prune.mcu.layout import Layout, laid_out
from tvm_prune.mcu.program import Buffer, Call, Program, read_program
from tvm_prune.model import TensorSpec

PREFIX = "model_"
"""What the names of all symbols start with, so that they meet no others in a firmware."""


@dataclass(frozen=True)
class Footprint:
    """Memory that a model needs, in bytes.

    Attributes:
        weights: in flash.
        arena: in RAM: inputs, outputs, everything between them, and the kernels' workspaces.
        arena_lower_bound: what is alive at the worst moment; no arena can be smaller.
    """

    weights: int
    arena: int
    arena_lower_bound: int


@dataclass(frozen=True)
class CModel:
    """A model that any C compiler for the board can take.

    Attributes:
        name: of the model.
        code: ``llvm`` or ``c``; see :data:`tvm_prune.mcu.kernels.CODES`.
        files: content by name: ``model.h``, ``model.c``, the kernels, and the weights.
        footprint: memory that it needs.
        kernel_names: kernel of every call, in order.
        inputs: the model's inputs.
        outputs: the model's outputs.
    """

    name: str
    code: str
    files: Mapping[str, bytes]
    footprint: Footprint
    kernel_names: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def compile_c_model(
    lowered: tvm.IRModule,
    target: Target,
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    scheduled: Mapping[str, Any] | None = None,
    code: str = "llvm",
) -> CModel:
    """Compile a lowered model for a microcontroller.

    Args:
        lowered: result of :func:`tvm_prune.tuning.lower`.
        target: LLVM target of the board.
        name: of the model.
        inputs: its inputs.
        outputs: its outputs.
        scheduled: kernel name to a ``Schedule`` or a scheduled PrimFunc; the others are compiled
            as they are.
        code: ``llvm`` for kernels as an object file, ``c`` for source.

    Raises:
        ExportError: if the model holds something that firmware cannot run.
    """
    if code not in CODES:
        raise ExportError(f"Kernels cannot be delivered as '{code}'; allowed: {', '.join(CODES)}.")
    program = read_program(lowered)
    functions = {
        PREFIX + kernel: function_of((scheduled or {}).get(kernel, function))
        for kernel, function in program.kernels.items()
    }
    places = places_taken(program)
    in_place = frozenset(PREFIX + kernel for kernel in kernels_in_place(program, places))
    kernels = compile_kernels(functions, target, code, in_place)
    layout = laid_out(program, _signatures(kernels), share=True, places=places)
    return _written(program, layout, kernels, name, code, tuple(inputs), tuple(outputs))


def kernel_c_model(module: tvm.IRModule, target: Target, *, code: str = "llvm") -> CModel:
    """One kernel as a model, to be measured.

    Each of its arguments has memory of its own; all but the last one are inputs.

    Args:
        module: one PrimFunc ``main``, scheduled or not.
        target: LLVM target of the board.
        code: ``llvm`` for an object file, ``c`` for source.

    Raises:
        ExportError: if it does not compile.
    """
    kernels = compile_kernels({PREFIX + "kernel": module["main"]}, target, code)
    tensors = kernels.signatures[PREFIX + "kernel"].tensors
    specs = [
        TensorSpec(f"argument{index}", pointer.shape, pointer.dtype)
        for index, pointer in enumerate(tensors)
    ]
    buffers = [
        Buffer(spec.name, pointer.bytes) for spec, pointer in zip(specs, tensors, strict=True)
    ]
    call = Call("kernel", tuple(buffers[:-1]), (buffers[-1],))
    program = Program(tuple(buffers[:-1]), (call,), call.outputs, {"kernel": module["main"]})
    layout = laid_out(program, _signatures(kernels), share=False)
    return _written(program, layout, kernels, "kernel", code, tuple(specs[:-1]), tuple(specs[-1:]))


def _signatures(kernels: Kernels) -> Mapping[str, Any]:
    return {name.removeprefix(PREFIX): signature for name, signature in kernels.signatures.items()}


def _written(
    program: Program,
    layout: Layout,
    kernels: Kernels,
    name: str,
    code: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> CModel:
    image = weights_image(program, layout)
    footprint = Footprint(len(image), layout.arena.bytes, layout.arena.lower_bound)
    names = tuple(call.kernel for call in program.calls)
    files = {
        "model.h": header(name, program, layout, inputs, outputs).encode(),
        "model.c": source(program, layout, kernels.signatures, PREFIX).encode(),
        kernels.file: kernels.content,
        "weights.bin": image,
        "weights.S": weights_assembly().encode(),
    }
    return CModel(name, code, files, footprint, names, inputs, outputs)
