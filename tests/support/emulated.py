"""Emulated boards for tests, and kernels for them."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import rpc

from tvm_prune.emulator import EmulatedBoard
from tvm_prune.measure.jobs import build_kernel

LINKER = "aarch64-linux-gnu-gcc"
KEY = "board"


def target(cpu: str = "cortex-a72", *features: str) -> dict[str, Any]:
    """A TVM target for the emulated board."""
    return {
        "kind": "llvm",
        "mtriple": "aarch64-linux-gnu",
        "mcpu": cpu,
        "mattr": list(features),
        "num-cores": 1,
    }


KERNEL = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(result: T.Buffer((64,), "{dtype}")):
        with T.sblock("root"):
            {statement}
"""
COUNTS = "for i in range(64):\n                result[i] = result[i] * T.{dtype}(2) + T.{dtype}(1)"
FILLS_A_TILE = """tile = T.sblock_alloc_buffer((192,), "{dtype}")
            for i in range(192):
                tile[i] = T.{dtype}(0)
            tile[T.Cast("int32", result[0])] = T.{dtype}(1)
            for i in range(64):
                result[i] = tile[T.Cast("int32", result[i])]"""
"""The C library fills the tile, which lies on the stack."""
ENDLESS = "while result[0] < T.float32(2):\n                result[0] = T.float32(0)"
ABORTS = 'T.evaluate(T.call_extern("int32", "abort"))'


def kernel(
    statement: str, folder: Path, *, dtype: str = "float32", cpu: str = "cortex-a72", features=()
) -> Path:
    """A library whose ``main`` is one statement on 64 values."""
    text = KERNEL.format(statement=statement.format(dtype=dtype), dtype=dtype)
    module = tvm.script.from_source(text)
    path = folder / "kernel.so"
    path.write_bytes(build_kernel(module, target(cpu, *features), LINKER))
    return path


class Session:
    """A session that ends with its block, whoever still holds this object."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def end(self) -> None:
        self._connection = None
        gc.collect()


@contextlib.contextmanager
def session(board: EmulatedBoard, key: str = KEY) -> Iterator[Session]:
    ours = Session(rpc.connect("127.0.0.1", board.port, key, session_timeout=120))
    try:
        yield ours
    finally:
        ours.end()


def cost(session: Any, library: Path, *, dtype: str = "float32", number: int = 1) -> float:
    """Instructions of a call of the kernel, by TVM's own timer."""
    session.upload(str(library), library.name)
    module = session.load_module(library.name)
    tensor = tvm.runtime.tensor(np.zeros(64, dtype), session.cpu())
    return module.time_evaluator("main", session.cpu(), number=number)(tensor).mean * 1e9


def session_folders(board: EmulatedBoard) -> list[str]:
    """Folders of sessions that are under way, or that were left behind."""
    begun = re.findall(r"session begins in (.*)", board.log.read_text())
    return [folder for folder in begun if Path(folder).exists()]
