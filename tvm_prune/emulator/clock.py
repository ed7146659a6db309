"""The plugin of QEMU's that makes the guest's clocks count instructions."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.settings import default_cache

SOURCE = Path(__file__).parent / "source" / "instruction_clock.c"
_COMPILER = "cc"


def clock_plugin(cache: Path | None = None) -> Path:
    """The compiled plugin, made by this machine's C compiler where it is not in the cache.

    Args:
        cache: keeps it; the user's cache directory by default.

    Raises:
        BoardError: if there is no C compiler.
    """
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    path = (cache or default_cache()) / "emulator" / f"instruction_clock-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [_COMPILER, "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
            toolchain.run(command, "build the emulated board's clock")
            os.replace(made, path)
    return path
