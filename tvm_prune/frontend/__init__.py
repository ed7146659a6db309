"""Front ends: trained models become `Model`s."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tvm_prune.errors import ModelError
from tvm_prune.frontend.onnx import load_onnx
from tvm_prune.model import Model

SUFFIXES: Mapping[str, tuple[str, str]] = {
    ".onnx": ("tvm_prune.frontend.onnx", "load_onnx"),
    ".tflite": ("tvm_prune.frontend.tflite", "load_tflite"),
    ".pt2": ("tvm_prune.frontend.torch", "load_pt2"),
}
"""Module and function that read a file, by its suffix; imported when they are needed."""

TYPES: Mapping[str, tuple[str, str]] = {
    "onnx.ModelProto": ("tvm_prune.frontend.onnx", "load_onnx"),
    "tvm.IRModule": ("tvm_prune.frontend.relax", "load_relax"),
    "torch.nn.Module": ("tvm_prune.frontend.torch", "load_torch_module"),
    "torch.export.ExportedProgram": ("tvm_prune.frontend.torch", "load_exported_program"),
}
"""Module and function that take an object, by the public name of its class."""

OPTIONS: Mapping[str, frozenset[str]] = {
    "load_onnx": frozenset({"keep_tied"}),
    "load_tflite": frozenset({"keep_tied"}),
    "load_pt2": frozenset({"keep_tied"}),
    "load_relax": frozenset({"keep_tied", "parameters"}),
    "load_torch_module": frozenset({"keep_tied", "example"}),
    "load_exported_program": frozenset({"keep_tied"}),
}
"""Options of :func:`load` that each front end takes."""


def load(
    source: Any,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    keep_tied: bool = False,
    example: Any = None,
    parameters: Any = None,
) -> Model:
    """Load a trained model.

    Args:
        source: path of an .onnx, .tflite or .pt2 file, an ``onnx.ModelProto``, a
            ``torch.nn.Module``, a ``torch.export.ExportedProgram``, or a Relax ``IRModule``.
        shapes: input shapes that replace the ones of the model, dynamic ones above all.
        keep_tied: a weight that several layers share stays one parameter, whose channels then live
            or die together everywhere. Otherwise each use gets its own copy.
        example: arguments of a ``torch.nn.Module``'s forward, in place of `shapes`: a tensor, a
            tuple, or a mapping by name.
        parameters: weights of an ``IRModule``, see :func:`tvm_prune.frontend.relax.load_relax`.

    Raises:
        ModelError: if the source cannot be read or holds what cannot be imported.
    """
    is_path = isinstance(source, str | Path)
    argument = Path(source) if is_path else source
    home, name = _of_suffix(argument) if is_path else _of_type(source)
    given = {"keep_tied": keep_tied or None, "example": example, "parameters": parameters}
    options = {option: value for option, value in given.items() if value is not None}
    unused = sorted(set(options) - OPTIONS[name])
    if unused:
        raise ModelError(
            f"The option '{unused[0]}' has no meaning for {argument if is_path else type(source)};"
            " leave it out."
        )
    read: Callable[..., Model] = getattr(importlib.import_module(home), name)
    return read(argument, shapes, **options)


def _of_suffix(path: Path) -> tuple[str, str]:
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(
            f"{path} has no suffix that says what it is; models are {', '.join(SUFFIXES)} files. "
            "A PyTorch checkpoint holds no network: load(module, example=...) the module itself."
        )
    return SUFFIXES[path.suffix.lower()]


def _of_type(source: Any) -> tuple[str, str]:
    for name, home in TYPES.items():
        package, _, attribute = name.rpartition(".")
        if _is_instance(source, package, attribute):
            return home
    raise ModelError(
        f"An object of type {type(source).__name__} cannot be loaded; give the path of an "
        f"{', '.join(SUFFIXES)} file, or an object of {', '.join(TYPES)}."
    )


def _is_instance(source: Any, package: str, attribute: str) -> bool:
    """Whether an object is of a class; its package is not imported where it cannot be."""
    roots = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    if package.partition(".")[0] not in roots:
        return False
    return isinstance(source, getattr(importlib.import_module(package), attribute))


__all__ = ["load", "load_onnx"]
