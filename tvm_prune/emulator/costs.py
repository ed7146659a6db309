"""What the instructions of the emulated board's own C and math libraries cost."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tvm_prune import cycles, toolchain
from tvm_prune.cycles import Processor, instruction_costs, write_table
from tvm_prune.settings import default_cache

_LIBRARIES: Mapping[str, str] = {"libc": "libc.so.6", "libm": "libm.so.6"}
"""Files of the libraries, by what the clock's plugin calls them."""


def library_costs(
    processor: Processor, folder: Path, cache: Path | None = None
) -> Mapping[str, Path]:
    """Tables of costs, estimated once for each processor: that takes a minute.

    Args:
        processor: what is emulated.
        folder: where the libraries lie.
        cache: keeps the tables; the user's cache directory by default.

    Returns:
        Files of :func:`~tvm_prune.cycles.write_table`, by name of the library: libc, libm.

    Raises:
        BoardError: if LLVM's tools are missing, or have no model of the processor.
    """
    tool = toolchain.require("llvm-mca", "estimate cycles")
    version = subprocess.run([tool, "--version"], capture_output=True, check=False).stdout
    place = (cache or default_cache()) / "emulator"
    tables = {}
    for name, file in _LIBRARIES.items():
        library = folder / file
        digest = hashlib.sha256(version + library.read_bytes() + _estimators_source())
        key = digest.hexdigest()[:12]
        tables[name] = place / f"{name}-{processor.cpu}-{key}.costs"
        if not tables[name].exists():
            _estimate(library, processor, tables[name])
    return tables


def _estimate(library: Path, processor: Processor, table: Path) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        made = Path(folder) / table.name
        write_table(instruction_costs(library, processor), library, made)
        os.replace(made, table)


def _estimators_source() -> bytes:
    folder = Path(cycles.__file__).parent
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
