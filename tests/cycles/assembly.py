"""Code for ARM processors, from its assembly."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tvm_prune.cycles import InstructionCosts, Processor, instruction_costs

A53 = Processor("aarch64-linux-gnu", "cortex-a53")
A72 = Processor("aarch64-linux-gnu", "cortex-a72")
M4 = Processor("thumbv7em-none-eabihf", "cortex-m4")
M7 = Processor("thumbv7em-none-eabihf", "cortex-m7")

_THUMB = ["-mthumb", "-mfloat-abi=hard"]
_COMPILERS = {
    "cortex-a53": ["aarch64-linux-gnu-gcc"],
    "cortex-a72": ["aarch64-linux-gnu-gcc"],
    "cortex-m4": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", *_THUMB],
    "cortex-m7": ["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", *_THUMB],
}


def assembled(text: str, processor: Processor, folder: Path) -> Path:
    """An object with the function ``f``."""
    source, made = folder / "code.s", folder / "code.o"
    header = ".text\n.syntax unified\n.thumb_func\n" if processor in (M4, M7) else ".text\n"
    source.write_text(f"{header}.globl f\n.type f, %function\nf:\n{text}\n")
    command = [*_COMPILERS[processor.cpu], "-c", str(source), "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def costs(text: str, processor: Processor, folder: Path) -> InstructionCosts:
    """What the instructions of some code cost."""
    return instruction_costs(assembled(text, processor, folder), processor)


def total(text: str, processor: Processor, folder: Path) -> float:
    """Cycles of code whose instructions are all executed once."""
    told = costs(text, processor, folder)
    return told.cycles([1] * len(told.addresses))
