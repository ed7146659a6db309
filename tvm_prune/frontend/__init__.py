"""Front ends: trained models become `Model`s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tvm_prune.frontend.onnx import load_onnx
from tvm_prune.model import Model


def load(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Model:
    """Load a trained model.

    Args:
        path: an .onnx file.
        shapes: input shapes that replace the ones in the file, dynamic ones above all.

    Raises:
        ModelError: if the file cannot be read or holds what cannot be imported.
    """
    return load_onnx(Path(path), shapes)


__all__ = ["load", "load_onnx"]
