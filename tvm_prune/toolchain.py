"""Programs that are not Python: compilers, linkers, emulators, and where Debian has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tvm_prune.errors import BoardError

PACKAGES: Mapping[str, str] = {
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "arm-linux-gnueabihf-g++": "g++-arm-linux-gnueabihf",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
    "cc": "gcc",
    "g++": "g++",
    "llvm-mca": "llvm",
    "llvm-objdump": "llvm",
    "qemu-aarch64": "qemu-user",
    "setpriv": "util-linux",
}
"""Debian package of a program."""

VERSIONED = frozenset({"llvm-mca", "llvm-objdump"})
"""Programs that are installed under names like ``llvm-mca-14`` as well, or only so."""


def missing(program: str) -> str:
    """What is missing and how to get it; empty where the program is installed."""
    if _found(program):
        return ""
    package = PACKAGES.get(program)
    advice = f"`apt-get install {package}` on Debian" if package else "install it, or name another"
    return f"{program} is not installed: {advice}"


def require(program: str, purpose: str) -> str:
    """Path of a program.

    Args:
        program: its name, or its path.
        purpose: what it is needed for, to follow the word "to".

    Raises:
        BoardError: if it is not installed; the message says how to install it.
    """
    if reason := missing(program):
        raise BoardError(f"Cannot {purpose}: {reason}.")
    return str(_found(program))


def _found(program: str) -> str | None:
    if (path := shutil.which(program)) or program not in VERSIONED:
        return path
    folders = [Path(name) for name in os.environ.get("PATH", "").split(os.pathsep) if name]
    paths = [path for folder in folders for path in folder.glob(f"{program}-*")]
    versions = {path.name.removeprefix(f"{program}-"): path for path in paths}
    newest = max((name for name in versions if name.isdigit()), key=int, default=None)
    return str(versions[newest]) if newest else None


def run(command: Sequence[str], purpose: str) -> None:
    """Run a program to its end.

    Raises:
        BoardError: if it is not installed, or fails; the message has its first complaint.
    """
    path = require(command[0], purpose)
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        told = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise BoardError(f"Cannot {purpose}: {command[0]} says '{told.strip()}'.")
