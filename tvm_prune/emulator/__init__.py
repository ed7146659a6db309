"""Emulated boards: the agent under QEMU's user mode, with a clock that counts instructions."""

from __future__ import annotations

from tvm_prune.emulator.board import EmulatedBoard, check_cpu
from tvm_prune.emulator.clock import clock_plugin

__all__ = ["EmulatedBoard", "check_cpu", "clock_plugin"]
