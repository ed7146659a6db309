"""What a worker does: build a kernel, run a kernel, run a whole model.

These functions run in worker processes of :mod:`tvm_prune.measure.pool` only. Each imports what
it needs, so that a worker that never compiles does not load a compiler.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm


@dataclass(frozen=True)
class Repeats:
    """How long a kernel or model is run to know its cost.

    Attributes:
        samples: repeats, each of which gives one sample.
        seconds: what one repeat should take at least; fast code is called many times.
        total_seconds: what all repeats should take at most; slow code is repeated less often.
    """

    samples: int = 5
    seconds: float = 0.005
    total_seconds: float = 0.4

    def plan(self, seconds_per_call: float) -> tuple[int, int]:
        """Calls per repeat, and repeats, for code that takes `seconds_per_call`."""
        number = max(1, math.ceil(self.seconds / max(seconds_per_call, 1e-8)))
        affordable = int(self.total_seconds / (number * max(seconds_per_call, 1e-8)))
        return number, max(1, min(self.samples, affordable))


def build_kernel(
    mod: tvm.IRModule, target: Mapping[str, Any], path: str, link: Sequence[str]
) -> None:
    """Compile one scheduled PrimFunc ``main`` to a shared library at `path`.

    Linking an object without a compiler driver takes milliseconds, where TVM's default, a tar
    that is linked when it is loaded, takes a fifth of a second. Undefined symbols are left to
    the process that loads the library, which has TVM's runtime and libm. Checks of the arguments
    are left out: they are much of the code to compile, and the runner passes the right ones.

    Args:
        mod: the kernel.
        target: JSON form of an LLVM target.
        path: where the library goes; its folder is created.
        link: linker command; ``-o LIBRARY OBJECT`` is appended.

    Raises:
        RuntimeError: if the linker refuses the object.
    """
    from tvm.target import Target

    library = Path(path)
    library.parent.mkdir(parents=True, exist_ok=True)
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        built = tvm.tirx.build(mod, target=Target(dict(target)))
    compiled = library.with_suffix(".o")
    built.write_to_file(str(compiled), "o")
    linked = subprocess.run(
        [*link, "-o", str(library), str(compiled)], capture_output=True, text=True, check=False
    )
    compiled.unlink()
    if linked.returncode != 0:
        raise RuntimeError(f"{link[0]}: {linked.stderr.strip()}")


def run_kernel(
    path: str, arguments: Sequence[tuple[str, tuple[int, ...]]], repeats: Repeats
) -> list[float]:
    """Seconds that one call of a built kernel takes, one figure per repeat.

    Args:
        path: shared library made by :func:`build_kernel`.
        arguments: dtype and shape of every argument; they are filled at random.
        repeats: how often to run it.
    """
    kernel = tvm.runtime.load_module(path)
    tensors = [tvm.runtime.tensor(random_array(dtype, shape)) for dtype, shape in arguments]
    function = kernel["main"]
    number, samples = repeats.plan(seconds_of(lambda: function(*tensors)))
    evaluate = kernel.time_evaluator("main", tvm.cpu(), number=number, repeat=samples)
    return [float(seconds) for seconds in evaluate(*tensors).results]


def random_array(dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    """Reproducible values in [0, 1), or small integers, of any dtype that numpy knows."""
    generator = np.random.default_rng(0)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return generator.random(shape, dtype=np.float32).astype(dtype, copy=False)
    return generator.integers(0, 2, size=shape).astype(dtype)


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds that `call` takes the second time, when caches and threads are warm."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run_model(path: str, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Outputs of an exported Relax executable's ``main``, nested tuples flattened."""
    return [tensor.numpy() for tensor in flat_tensors(_bound_call(path, inputs)())]


def time_models(
    paths: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]], rounds: int, repeats: Repeats
) -> list[list[float]]:
    """Seconds per call of several Relax executables that take turns.

    Args:
        paths: exported executables.
        inputs: the same inputs for each, by parameter name.
        rounds: turns, each of which gives one sample per executable.
        repeats: `repeats.seconds` is what one turn should take at least.

    Returns:
        For each executable, `rounds` samples.
    """
    calls = [_bound_call(path, inputs) for path in paths]
    numbers = [repeats.plan(seconds_of(call))[0] for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, number, taken in zip(calls, numbers, samples, strict=True):
            start = time.perf_counter()
            for _ in range(number):
                call()
            taken.append((time.perf_counter() - start) / number)
    return samples


def load_model(path: str) -> tuple[Callable[..., Any], list[str]]:
    """The ``main`` of an exported Relax executable, and the names of its parameters."""
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())
    count = machine._get_function_arity("main")
    names = [machine._get_function_param_name("main", index) for index in range(count)]
    return machine["main"], names


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
