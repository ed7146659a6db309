"""Runs Relax functions on the CPU, compiled as cheaply as TVM allows.

Three things make a small module take a tenth of a second instead of one: LLVM's optimisations are
off, the module is linked into a shared library (LLVM's JIT generates code four times as slowly),
and several functions are compiled as one module.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax

Array = NDArray[Any]
Run = Callable[[Array, Mapping[str, Array]], list[Array]]

TARGET = {"kind": "llvm", "opt-level": 0, "num-cores": 1}


def compiled(modules: Mapping[str, IRModule], target: Mapping[str, Any] = TARGET) -> dict[str, Run]:
    """Compile the ``main`` of several modules at once.

    Each result takes the input and the parameters by name and returns all outputs.
    """
    together = IRModule()
    for name, module in modules.items():
        together[name] = module["main"].with_attr("global_symbol", name)
        for variable, function in module.functions_items():
            if variable.name_hint != "main":
                together[variable] = function
    with tvm.transform.PassContext(opt_level=3):
        machine = relax.VirtualMachine(
            _linked(tvm.compile(together, tvm.target.Target(target))), tvm.cpu()
        )
    return {name: _runner(machine[name], module["main"]) for name, module in modules.items()}


def _linked(executable: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        executable.export_library(str(path), fcompile=_link)
        return tvm.runtime.load_module(str(path))


def _link(output: str, objects: list[str], **_options: Any) -> None:
    subprocess.run(["ld", "-shared", "-o", output, *objects], check=True)


def evaluate(module: IRModule, x: Array, parameters: Mapping[str, Array]) -> list[Array]:
    """All outputs of one module."""
    return compiled({"main": module})["main"](x, parameters)


def _runner(call: Any, function: Any) -> Run:
    names = [variable.name for variable in function.params[1:]]

    def run(x: Array, parameters: Mapping[str, Array]) -> list[Array]:
        values = [x, *(parameters[name] for name in names)]
        result = call(*[tvm.runtime.tensor(value) for value in values])
        tensors = [result] if hasattr(result, "numpy") else result
        return [tensor.numpy() for tensor in tensors]

    return run
