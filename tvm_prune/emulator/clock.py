"""The plugin of QEMU's that makes the guest's clocks count instructions."""

from __future__ import annotations

from pathlib import Path

from tvm_prune.emulator.plugin import compiled_plugin


def clock_plugin(cache: Path | None = None) -> Path:
    """The compiled plugin; see :func:`~tvm_prune.emulator.plugin.compiled_plugin`."""
    return compiled_plugin("instruction_clock", cache)
