"""Models as C for microcontrollers: static memory, no runtime."""

from __future__ import annotations

from tvm_prune.mcu.c_model import CModel, Footprint, compile_c_model, kernel_c_model
from tvm_prune.mcu.kernels import CODES

__all__ = ["CODES", "CModel", "Footprint", "compile_c_model", "kernel_c_model"]
