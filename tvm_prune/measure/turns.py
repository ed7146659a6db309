"""Time kernels that take turns, on this machine or in a session with another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from tvm_prune.measure.pool import Failed
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.worker import describe

Signature = tuple[tuple[str, tuple[int, ...]], ...]
"""Data type and shape of every argument of a kernel."""

_MOST_KERNELS = 24
_MOST_BYTES = 1 << 28
"""Of the arguments of kernels that take turns with one another."""


@dataclass(frozen=True)
class _Ready:
    """A kernel that is loaded and has run."""

    position: int
    first: float
    """Seconds of its first call but one."""
    once: Callable[[], float]
    """Seconds a call, from one repeat; a call before it warms the caches."""
    samples: int


def time_in_turns(
    kernels: Sequence[tuple[str, Signature]],
    load: Callable[[str], Any],
    device: Any,
    repeats: Repeats,
    check: Callable[[], object] = lambda: None,
) -> Generator[int, None, list[list[float] | Failed]]:
    """Run kernels in turns, one repeat of each a turn, so that a drift of the machine hits all.

    All are loaded and called twice first, which tells how often to call each one; where the clock
    is exact, that is all that there is to know. Else they warm the machine up. See :func:`batches`
    for how many fit into memory together.

    Args:
        kernels: what `load` takes, and the arguments of each kernel, which are filled at random.
        load: gives the module whose ``main`` is the kernel.
        device: where the arguments live.
        repeats: how often to run each kernel.
        check: raises where a kernel's failure is not its own.

    Yields:
        The index of the kernel that is about to run.

    Returns:
        Seconds of one call, one figure a repeat, of every kernel, or why it does not run.
    """
    outcomes: list[list[float] | Failed] = [[] for _ in kernels]
    ready: list[_Ready] = []
    for position, (source, signature) in enumerate(kernels):
        yield position
        try:
            tensors = [tvm.runtime.tensor(random_array(*each), device) for each in signature]
            kernel = _prepared(position, load(source), tensors, device, repeats)
            if repeats.exact:
                outcomes[position] = [kernel.first]
            else:
                ready.append(kernel)
        except Exception as error:
            _raise_for(check, error)
            outcomes[position] = Failed(describe(error))
    for kernel, is_timed in _turns(ready, repeats):
        taken = outcomes[kernel.position]
        if isinstance(taken, Failed):
            continue
        yield kernel.position
        time.sleep(repeats.cooldown if is_timed else 0.0)
        try:
            seconds = kernel.once()
            if is_timed:
                taken.append(seconds)
        except Exception as error:
            _raise_for(check, error)
            outcomes[kernel.position] = Failed(describe(error))
    return outcomes


def _turns(ready: Sequence[_Ready], repeats: Repeats) -> Iterator[tuple[_Ready, bool]]:
    """Kernels in the order in which they run, and whether the run counts."""
    for kernel in repeats.warming_up(ready):
        yield kernel, False
    for turn in range(repeats.samples):
        for kernel in ready:
            if turn < kernel.samples:
                yield kernel, True


def _raise_for(check: Callable[[], object], error: Exception) -> None:
    """Where a failure is not the kernel's own, it ends the session: what failed first tells why."""
    try:
        check()
    except Exception as gone:
        raise error from gone


def _prepared(
    position: int, module: Any, tensors: Sequence[Any], device: Any, repeats: Repeats
) -> _Ready:
    """Call a kernel a first time, and plan its repeats."""
    seconds = module.time_evaluator("main", device, number=1, repeat=1)(*tensors).results[0]
    number, samples = repeats.plan(seconds)
    evaluate = module.time_evaluator("main", device, number=number, repeat=1)
    return _Ready(position, seconds, lambda: float(evaluate(*tensors).results[0]), samples)


def batches(signatures: Sequence[Signature]) -> Iterator[range]:
    """Divide kernels, by their arguments, into consecutive ones that fit into memory together."""
    start, total = 0, 0
    for index, signature in enumerate(signatures):
        size = sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in signature)
        if start < index and (index - start >= _MOST_KERNELS or total + size > _MOST_BYTES):
            yield range(start, index)
            start, total = index, 0
        total += size
    if start < len(signatures):
        yield range(start, len(signatures))


def random_array(dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    """Reproducible values in [0, 1), or small integers, of any dtype that numpy knows."""
    generator = np.random.default_rng(0)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return generator.random(shape, dtype=np.float32).astype(dtype, copy=False)
    return generator.integers(0, 2, size=shape).astype(dtype)
