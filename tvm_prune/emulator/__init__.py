"""Emulated boards: the agent under QEMU's user mode, with a clock that counts instructions."""

from __future__ import annotations

from tvm_prune.emulator.board import EmulatedBoard, check_cpu

__all__ = ["EmulatedBoard", "check_cpu"]
