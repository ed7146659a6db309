"""What a worker does: build a kernel, run kernels, run a whole model.

These functions run in worker processes of :mod:`tvm_prune.measure.pool` only. Each imports what
it needs, so that a worker that never compiles does not load a compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from tvm_prune.measure.pool import Failed
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.turns import Signature, time_in_turns

_LINKER = "ld"
_DRIVER = "cc"


def build_kernel(mod: tvm.IRModule, target: Mapping[str, Any], linker: str | None = None) -> bytes:
    """Compile one scheduled PrimFunc ``main`` to a shared library.

    Linking an object without a compiler driver takes milliseconds, where TVM's default, a tar
    that is linked when it is loaded, takes a fifth of a second. Undefined symbols are left to
    the process that loads the library, which has TVM's runtime and libm. Checks of the arguments
    are left out: they are much of the code to compile, and the runner passes the right ones.

    Args:
        mod: the kernel.
        target: JSON form of an LLVM target.
        linker: compiler driver that links for the target; this machine's linker by default.

    Returns:
        The library's content; the process that builds may be on another machine.

    Raises:
        RuntimeError: if the linker refuses the object.
        FileNotFoundError: if there is no linker.
    """
    from tvm.target import Target

    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        built = tvm.tirx.build(mod, target=Target(dict(target)))
    with tempfile.TemporaryDirectory(prefix="tvm-prune-build-") as folder:
        compiled, library = Path(folder) / "kernel.o", Path(folder) / "kernel.so"
        built.write_to_file(str(compiled), "o")
        command = [*_link(linker), "-o", str(library), str(compiled)]
        linked = subprocess.run(command, capture_output=True, text=True, check=False)
        if linked.returncode != 0:
            raise RuntimeError(f"{command[0]}: {linked.stderr.strip()}")
        return library.read_bytes()


def _link(linker: str | None) -> tuple[str, ...]:
    if linker is None and shutil.which(_LINKER):
        return _LINKER, "-shared"
    return linker or _DRIVER, "-shared", "-nostdlib"


def run_kernels(
    kernels: Sequence[tuple[str, Signature]], repeats: Repeats
) -> Generator[int, None, list[list[float] | Failed]]:
    """Run built kernels on this machine; see :func:`~tvm_prune.measure.turns.time_in_turns`.

    Args:
        kernels: path of each library, and the kernel's arguments.
        repeats: how often to run each.
    """
    return time_in_turns(kernels, tvm.runtime.load_module, tvm.cpu(), repeats)


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds that `call` takes the second time, when its data is in the caches."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run_model(path: str, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Outputs of an exported Relax executable's ``main``, nested tuples flattened."""
    return [tensor.numpy() for tensor in flat_tensors(_bound_call(path, inputs)())]


def time_models(
    paths: Sequence[str],
    inputs: Mapping[str, npt.NDArray[Any]],
    rounds: int,
    repeats: Repeats,
) -> list[list[float]]:
    """Seconds per call of several Relax executables that take turns.

    Args:
        paths: exported executables.
        inputs: the same inputs for each, by parameter name.
        rounds: turns; each gives one sample per executable.
        repeats: `repeats.seconds` is what one turn should take at least.

    Returns:
        For each executable, its samples.
    """
    calls = [_bound_call(path, inputs) for path in paths]
    for call in repeats.warming_up(calls):
        call()
    numbers = [repeats.plan(seconds_of(call))[0] for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, number, taken in zip(calls, numbers, samples, strict=True):
            time.sleep(repeats.cooldown)
            start = time.perf_counter()
            for _ in range(number):
                call()
            taken.append((time.perf_counter() - start) / number)
    return samples


def load_model(path: str) -> tuple[Callable[..., Any], list[str]]:
    """The ``main`` of an exported Relax executable, and the names of its parameters.

    What a process has loaded stays loaded under its path, whatever is written there later.
    """
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())
    return machine["main"], parameter_names(machine)


def parameter_names(machine: Any) -> list[str]:
    """Names of the parameters of a virtual machine's ``main``, in order."""
    count = machine._get_function_arity("main")
    return [machine._get_function_param_name("main", index) for index in range(count)]


def _bound_call(path: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Callable[[], Any]:
    """A call of the executable's ``main`` on `inputs`."""
    main, names = load_model(path)
    if set(names) != set(inputs):
        raise ValueError(f"the model takes {sorted(names)}, not {sorted(inputs)}")
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(inputs[name])) for name in names]
    return lambda: main(*tensors)


def flat_tensors(value: Any) -> list[Any]:
    """The tensors of a tensor or of nested tuples of tensors, in order."""
    if hasattr(value, "numpy"):
        return [value]
    return [tensor for element in value for tensor in flat_tensors(element)]
