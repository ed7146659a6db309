"""What each instruction of a file costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_prune.cycles.blocks import basic_blocks
from tvm_prune.cycles.disassembly import disassemble
from tvm_prune.cycles.llvm_mca import MILLI, block_cycles
from tvm_prune.cycles.processor import Processor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class InstructionCosts:
    """Costs of instructions, those of each basic block spread evenly over its instructions.

    A block that is executed piece by piece, as emulators divide it, hence costs what it costs as a
    whole: whoever counts how often each instruction runs has to do nothing but multiply.

    Attributes:
        processor: what they are costs on.
        addresses: of the instructions as the file says, ascending; uint64.
        thousandths: of a cycle that each instruction takes; uint32.
    """

    processor: Processor
    addresses: Array
    thousandths: Array

    def cycles(self, executed: Sequence[int] | Array) -> float:
        """Cycles of code.

        Args:
            executed: how often each instruction of `addresses` was executed.
        """
        counts = np.asarray(executed, dtype=np.uint64)
        return int(counts @ self.thousandths.astype(np.uint64)) / MILLI


def instruction_costs(file: Path, processor: Processor) -> InstructionCosts:
    """Estimate what the instructions of an ELF file cost; see :mod:`tvm_prune.cycles.llvm_mca`.

    Args:
        file: object, library, program or firmware.
        processor: what it runs on.

    Raises:
        BoardError: if LLVM's tools are missing, or know nothing of the processor.
    """
    blocks = basic_blocks(disassemble(file, processor), processor.is_64_bit)
    told = block_cycles([tuple(each.text for each in block) for block in blocks], processor)
    addresses = [each.address for block in blocks for each in block]
    shares = [
        share
        for block, cost in zip(blocks, told, strict=True)
        for share in _shares(cost, len(block))
    ]
    return InstructionCosts(
        processor, np.array(addresses, dtype=np.uint64), np.array(shares, dtype=np.uint32)
    )


def _shares(total: int, count: int) -> list[int]:
    """Whole numbers that differ by one at most and add up to the total."""
    return [total * (index + 1) // count - total * index // count for index in range(count)]
