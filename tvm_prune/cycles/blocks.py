"""Basic blocks: instructions that are executed one after the other, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tvm_prune.cycles.disassembly import Instruction

Block = tuple[Instruction, ...]

_JUMPS_64 = re.compile(
    r"(?:bl?|b\.\w+|bl?r(?:a[ab]z?)?|ret(?:a[ab])?|eret|cbn?z|tbn?z|brk|udf|svc)$"
)
_CONDITION = r"(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?"
_JUMPS_32 = re.compile(
    rf"(?:bl?x?{_CONDITION}(?:\.[nw])?|bl?xns|cbn?z|tb[bh]|svc|bkpt|udf(?:\.[nw])?)$"
)
_WRITES_PC = re.compile(r"^(?:pop|ldm)\S*\s.*\bpc\s*\}|^(?:mov|ldr|add)\S*\s+pc\b")


def basic_blocks(runs: Sequence[Sequence[Instruction]], is_64_bit: bool) -> list[Block]:
    """Divide code where something jumps from or to, or has a name.

    Where only a computed address leads, no block begins: its costs belong to the block around it.

    Args:
        runs: instructions without gaps, from :func:`~tvm_prune.cycles.disassembly.disassemble`.
        is_64_bit: whether it is AArch64 code.
    """
    jumps = _jumps_64 if is_64_bit else _jumps_32
    aims = {each.mentions for run in runs for each in run if jumps(each)}
    blocks: list[Block] = []
    for run in runs:
        block: list[Instruction] = []
        for instruction in run:
            if block and (instruction.is_entry or instruction.address in aims):
                blocks.append(tuple(block))
                block = []
            block.append(instruction)
            if jumps(instruction):
                blocks.append(tuple(block))
                block = []
        if block:
            blocks.append(tuple(block))
    return blocks


def _jumps_64(instruction: Instruction) -> bool:
    return _JUMPS_64.match(instruction.mnemonic) is not None


def _jumps_32(instruction: Instruction) -> bool:
    return (
        _JUMPS_32.match(instruction.mnemonic) is not None
        or _WRITES_PC.match(instruction.text) is not None
    )
