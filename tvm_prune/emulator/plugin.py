"""Plugins of QEMU's, compiled when they are needed first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.settings import default_cache

SOURCES = Path(__file__).parent / "source"
_HEADER = SOURCES / "qemu_plugin.h"
_COMPILER = "cc"


def compiled_plugin(name: str, cache: Path | None = None) -> Path:
    """A plugin, made by this machine's C compiler where it is not in the cache.

    Args:
        name: of its source file, without suffix.
        cache: keeps it; the user's cache directory by default.

    Raises:
        BoardError: if there is no C compiler.
    """
    source = SOURCES / f"{name}.c"
    key = hashlib.sha256(_HEADER.read_bytes() + source.read_bytes()).hexdigest()[:12]
    path = (cache or default_cache()) / "emulator" / f"{name}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [_COMPILER, "-O2", "-shared", "-fPIC", "-o", str(made), str(source)]
            toolchain.run(command, "build what counts in the emulated board")
            os.replace(made, path)
    return path
