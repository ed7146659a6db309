"""Cycles of basic blocks, by llvm-mca.

llvm-mca runs a block many times over on LLVM's model of a processor, the one that its compiler
schedules code by. The figure is what one more run adds: exact for a loop of one block, where
iterations overlap and wait for one another in just this way, and an approximation elsewhere.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.cycles.processor import Processor
from tvm_prune.errors import BoardError

MILLI = 1000
"""Costs are whole thousandths of a cycle: sums of them are exact, and the same everywhere."""

_PURPOSE = "estimate cycles"
_FEW, _MANY = 20, 80
"""Runs of a block; what the second number takes longer than the first is what runs cost."""

_AT_ONCE = 500
"""Blocks for one run of llvm-mca, whose time grows with the square of their number."""

_CALLS_64 = {"bl": "b", "blr": "br"}
_CALLS_32 = {"bl": "b.w", "blx": "bx"}
_COMPLAINT = re.compile(r"^[^:\s]*:(\d+):\d+: error: ", re.MULTILINE)
_UNSUPPORTED = re.compile(r"error: found an unsupported instruction.*\nnote: instruction: *\t(\S+)")
_NO_MODEL = re.compile(r"unable to find instruction-level scheduling|not a recognized processor")


def block_cycles(blocks: Sequence[tuple[str, ...]], processor: Processor) -> list[int]:
    """Thousandths of a cycle that each block takes.

    - A call costs what a jump costs; what it calls is code with costs of its own.
    - An instruction that llvm-mca cannot read, or has no model of, takes one cycle beside
      those of the rest of its block.

    Args:
        blocks: texts of instructions.
        processor: what they run on.

    Raises:
        BoardError: if llvm-mca is missing, or has no model of the processor.
    """
    different = sorted(set(blocks))
    told: dict[tuple[str, ...], int] = {}
    for start in range(0, len(different), _AT_ONCE):
        part = different[start : start + _AT_ONCE]
        told |= dict(zip(part, _simulated(part, processor), strict=True))
    return [told[block] for block in blocks]


def _simulated(blocks: Sequence[tuple[str, ...]], processor: Processor) -> list[int]:
    texts = [tuple(_readable(text, processor) for text in block) for block in blocks]
    left_out: set[str] = set()
    while True:
        few = _run(texts, left_out, _FEW, processor)
        if isinstance(few, Mapping):
            break
        left_out |= few
    many = _run(texts, left_out, _MANY, processor)
    assert isinstance(many, Mapping), "what was readable stays readable"
    return [
        round((many.get(number, 0) - few.get(number, 0)) * MILLI / (_MANY - _FEW))
        + MILLI * sum(text in left_out for text in block)
        for number, block in enumerate(texts)
    ]


def _readable(text: str, processor: Processor) -> str:
    """The instruction as llvm-mca takes it: calls, of which it says nothing, become jumps."""
    mnemonic, _, operands = text.partition(" ")
    jumps = (_CALLS_64 if processor.is_64_bit else _CALLS_32).get(mnemonic)
    return f"{jumps} {operands}" if jumps else text


def _run(
    texts: Sequence[tuple[str, ...]],
    left_out: Collection[str],
    iterations: int,
    processor: Processor,
) -> Mapping[int, int] | set[str]:
    """Cycles of each block's iterations, by its position; or else what llvm-mca cannot take."""
    lines: list[str] = []
    for number, block in enumerate(texts):
        kept = [text for text in block if text not in left_out]
        if kept:
            lines += [f"# LLVM-MCA-BEGIN {number}", *kept, "# LLVM-MCA-END"]
    if not lines:
        return {}
    tool = toolchain.require("llvm-mca", _PURPOSE)
    command = [tool, f"--mtriple={processor.triple}", *processor.options, "--json"]
    command += [f"--iterations={iterations}", "--instruction-info=0", "--resource-pressure=0"]
    source = "\n".join(lines) + "\n"
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if _NO_MODEL.search(done.stderr):
        raise BoardError(
            f"Cannot {_PURPOSE}: {Path(tool).name} has no model of the processor "
            f"'{processor.cpu}' ({processor.triple}); measure in instructions."
        )
    if done.returncode == 0:
        regions = json.loads(done.stdout)["CodeRegions"]
        return {int(each["Name"]): each["SummaryView"]["TotalCycles"] for each in regions}
    if refused := set(_refused(done.stderr, lines)):
        return refused
    reason = (done.stderr.strip() or "no message").splitlines()[0]
    raise BoardError(f"Cannot {_PURPOSE}: {Path(tool).name} says '{reason}'.")


def _refused(complaints: str, lines: Sequence[str]) -> Iterator[str]:
    for found in _COMPLAINT.finditer(complaints):
        yield lines[int(found.group(1)) - 1]
    for found in _UNSUPPORTED.finditer(complaints):
        yield from (line for line in lines if line.split(None, 1)[0] == found.group(1))
