"""Costs of instructions as a file, for programs that count while code runs.

All numbers are little-endian: the magic ``cycles01``, the processor's name in 56 bytes, the place
in the file where the table begins and the number of its entries (two uint64), and for every two
bytes of code from there on one uint32: thousandths of a cycle of the instruction that begins
there, or 0. Places are offsets in the ELF file, which stay right wherever it is loaded.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_prune.cycles.costs import InstructionCosts

GRANULE = 2
"""Bytes; instructions begin at multiples of it, and none is shorter."""

_HEADER = struct.Struct("<8s56sQQ")
_MAGIC = b"cycles01"
_LOADED = 1


def write_table(costs: InstructionCosts, file: Path, table: Path) -> None:
    """Write the costs of a library's or program's instructions.

    Args:
        costs: of the instructions of `file`.
        file: what they are costs of.
        table: file to write.
    """
    places = _offsets(file.read_bytes(), costs.addresses)
    begin = int(places[0]) if len(places) else 0
    entries = (int(places[-1]) - begin) // GRANULE + 1 if len(places) else 0
    content = np.zeros(entries, dtype="<u4")
    content[(places - begin) // GRANULE] = costs.thousandths
    header = _HEADER.pack(_MAGIC, costs.processor.cpu.encode(), begin, entries)
    table.write_bytes(header + content.tobytes())


def _offsets(elf: bytes, addresses: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Places in an ELF file of addresses in its loaded segments."""
    wide = elf[4] == 2
    place, size, count = (
        struct.unpack_from("<Q14xHH", elf, 32) if wide else struct.unpack_from("<I10xHH", elf, 28)
    )
    offsets = addresses.astype(np.int64)
    for number in range(count):
        kind, offset, start, length = (
            struct.unpack_from("<I4xQQ8xQ", elf, place + number * size)
            if wide
            else struct.unpack_from("<III4xI", elf, place + number * size)
        )
        inside = (addresses >= start) & (addresses < start + length)
        if kind == _LOADED:
            offsets[inside] = addresses[inside].astype(np.int64) - start + offset
    return offsets
