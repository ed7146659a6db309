"""Relax models become ONNX: to ship, to fine-tune elsewhere, and to run as a reference."""

from __future__ import annotations

from tvm_prune.to_onnx.convert import to_onnx

__all__ = ["to_onnx"]
