"""Machine code as text, by llvm-objdump."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.cycles.processor import Processor
from tvm_prune.errors import BoardError

_LABEL = re.compile(r"^[0-9a-f]+ <.*>:$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")
_DATA = re.compile(
    r"\.(?:byte|short|hword|word|long|xword|quad|inst)\b|^[0-9a-f]{2}(?: [0-9a-f]{2})*(?:\s{2}|$)"
)
"""Data as a directive, or as bytes and the characters that they would be."""
_REMARK = re.compile(r"\s*(?:<[^>]*>|//.*|@.*)")
_UNKNOWN = "unknown"
"""In the place of what is no instruction of the processor."""

_ADDRESS = re.compile(r"(?<![#\w])0x([0-9a-f]+)")


@dataclass(frozen=True)
class Instruction:
    """One machine instruction.

    Attributes:
        address: as the file says.
        text: assembly, with 0 in the place of addresses, so that equal code reads alike.
        mentions: the address that it names, most often to jump there; None where there is none.
        is_entry: whether something has a name here, that is where others may jump to.
    """

    address: int
    text: str
    mentions: int | None
    is_entry: bool

    @property
    def mnemonic(self) -> str:
        """Its first word."""
        return self.text.split(None, 1)[0]


def disassemble(file: Path, processor: Processor) -> list[list[Instruction]]:
    """The instructions of an ELF file, in runs without gaps, in the order of their addresses.

    Data between instructions, as in the literal pools of Thumb code, is left out.

    Args:
        file: object, library, program or firmware.
        processor: what it is for.

    Raises:
        BoardError: if llvm-objdump is missing or does not understand the file.
    """
    purpose = "tell the cycles of code"
    tool = toolchain.require("llvm-objdump", purpose)
    command = [tool, "--disassemble", "--no-show-raw-insn", f"--triple={processor.triple}"]
    done = subprocess.run(
        [*command, *processor.options, str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no message").splitlines()[0]
        raise BoardError(f"Cannot {purpose}: llvm-objdump says '{reason}'.")
    return _runs(done.stdout.splitlines())


def _runs(lines: list[str]) -> list[list[Instruction]]:
    runs: list[list[Instruction]] = [[]]
    is_entry = True
    for line in lines:
        found = _INSTRUCTION.match(line)
        if found is None:
            is_entry = is_entry or _LABEL.match(line) is not None
            if line.startswith("Disassembly of section"):
                runs.append([])
        elif _DATA.search(found.group(2)):
            runs.append([])
        else:
            runs[-1].append(_instruction(int(found.group(1), 16), found.group(2), is_entry))
            is_entry = False
    return sorted((run for run in runs if run), key=lambda run: run[0].address)


def _instruction(address: int, told: str, is_entry: bool) -> Instruction:
    text = _REMARK.sub("", told.replace("\t", " ")).strip() or _UNKNOWN
    mentioned = _ADDRESS.search(text)
    return Instruction(
        address,
        _ADDRESS.sub("#0", text),
        int(mentioned.group(1), 16) if mentioned else None,
        is_entry,
    )
