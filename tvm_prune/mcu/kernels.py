"""Kernels compiled for firmware: an object file through LLVM, or portable C."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target
from tvm.tirx import PrimFunc

from tvm_prune.errors import ExportError
from tvm_prune.mcu.c_source import c_source, without_min_max
from tvm_prune.mcu.unpack import Signature, unpacked

_NO_ALIAS = "tirx.noalias"


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels.

    Attributes:
        file: name of the file that holds them.
        content: the file.
        signatures: what each of them takes.
    """

    file: str
    content: bytes
    signatures: Mapping[str, Signature]


def compile_kernels(
    kernels: Mapping[str, PrimFunc],
    target: Target,
    code: str,
    in_place: Collection[str] = (),
) -> Kernels:
    """Compile kernels to C functions.

    Args:
        kernels: PrimFuncs, scheduled or not, by the name that their functions shall have.
        target: LLVM target of the board.
        code: ``llvm`` for an object file, ``c`` for source.
        in_place: kernels whose output may lie where an input does.

    Raises:
        ExportError: if a kernel does not compile for the target.
    """
    separate = {
        name: function.without_attr(_NO_ALIAS) if name in in_place else function
        for name, function in kernels.items()
    }
    return CODES[code](separate, target)


def _as_object(kernels: Mapping[str, PrimFunc], target: Target) -> Kernels:
    """LLVM compiles the kernels for the board."""
    module, signatures = unpacked(kernels, target)
    with tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder:
        path = Path(folder) / "kernels.o"
        _built("target.build.llvm", module, target).write_to_file(str(path), "o")
        return Kernels(path.name, path.read_bytes(), signatures)


def _as_c(kernels: Mapping[str, PrimFunc], target: Target) -> Kernels:
    """C99 for any compiler; loops are left for it to vectorize."""
    portable = Target({"kind": "c"})
    module, signatures = unpacked(kernels, portable, vectorize=False)
    source = _built("target.build.c", without_min_max(module), portable).inspect_source()
    separate = [name for name, function in kernels.items() if _NO_ALIAS in function.attrs]
    return Kernels("kernels.c", c_source(source, separate).encode(), signatures)


def _built(generator: str, module: tvm.IRModule, target: Target) -> Any:
    try:
        return tvm.get_global_func(generator)(module, target)
    except (ValueError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1]
        names = ", ".join(variable.name_hint for variable in module.get_global_vars())
        raise ExportError(f"TVM cannot generate code for {names}: {reason}") from error


CODES: Mapping[str, Callable[[Mapping[str, PrimFunc], Target], Kernels]] = {
    "llvm": _as_object,
    "c": _as_c,
}
"""Forms that kernels can be delivered in."""
