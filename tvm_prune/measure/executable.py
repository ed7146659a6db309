"""Run and measure whole models: shared libraries that hold a Relax executable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tvm_prune.errors import MeasureError
from tvm_prune.machine import conditions, core_count
from tvm_prune.measure import jobs
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measure.repeats import SITTINGS, Repeats, divided, pooled
from tvm_prune.measurement import Measurement

_TIMEOUT = 600.0
_MAXIMUM_USES = 64
"""Batches of kernels after which a runner is replaced; libraries it has loaded stay loaded."""


def run_executable(
    library: Path, inputs: Mapping[str, npt.NDArray[Any]], *, threads: int | None = None
) -> list[npt.NDArray[Any]]:
    """Outputs of a model, computed in a process of its own.

    Args:
        library: exported shared library with a Relax ``main``.
        inputs: an array for every parameter of ``main``, by name.
        threads: size of TVM's thread pool; all processors by default.

    Returns:
        Every output array, nested tuples flattened.

    Raises:
        MeasureError: if the model cannot be loaded, crashes, or takes longer than ten minutes.
    """
    result: list[npt.NDArray[Any]] = run_in_worker(
        jobs.run_model, (str(library), dict(inputs)), threads
    )
    return result


def measure_executable(
    library: Path,
    inputs: Mapping[str, npt.NDArray[Any]],
    *,
    rounds: int = 15,
    threads: int | None = None,
) -> Measurement:
    """Latency of a model in seconds per call, `rounds` samples; see :func:`measure_interleaved`."""
    return measure_interleaved([library], inputs, rounds=rounds, threads=threads)[0]


def measure_interleaved(
    libraries: Sequence[Path],
    inputs: Mapping[str, npt.NDArray[Any]],
    *,
    rounds: int = 15,
    threads: int | None = None,
    repeats: Repeats | None = None,
) -> list[Measurement]:
    """Latencies of models that take turns, so that a drift of the machine hits all alike.

    The turns are divided among sittings, see :data:`~tvm_prune.measure.repeats.SITTINGS`.

    Args:
        libraries: exported shared libraries, each with a Relax ``main``.
        inputs: an array for every parameter of ``main``, by name; the same for all libraries.
        rounds: turns; each gives one sample per library.
        threads: size of TVM's thread pool; all processors by default.
        repeats: its `seconds` is the least that one turn takes; a fast model is called repeatedly.

    Returns:
        One measurement per library, in seconds.

    Raises:
        MeasureError: if a model cannot be loaded, crashes, or all take longer than ten minutes.
    """
    with closing(ModelTimer(threads or core_count())) as timer:
        return timer.measure(libraries, inputs, rounds=rounds, repeats=repeats or Repeats())


class ModelTimer:
    """Measures models as :func:`measure_interleaved` does, many times.

    The processes in which models will run begin to start when they are first foreseen: that takes
    seconds, longer than measuring a fast model does. Whoever measures anything else in the meantime
    has to wait for them.

    Args:
        threads: size of TVM's thread pool.
    """

    def __init__(self, threads: int) -> None:
        self._runners = runner_pool(threads, SITTINGS, timeout=_TIMEOUT)

    def measure(
        self,
        libraries: Sequence[Path],
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        rounds: int,
        repeats: Repeats,
    ) -> list[Measurement]:
        """Latencies of models that take turns; see :func:`measure_interleaved`."""
        paths = [str(library) for library in libraries]
        turns = [(paths, dict(inputs), share, repeats) for share in divided(rounds)]
        results = self._runners.take_turns(jobs.time_models, turns)
        sittings = [_checked(result) for result in results]
        now = conditions()
        return [Measurement(own, "seconds", now) for own in pooled(sittings)]

    def foresee(self) -> None:
        """Begin to start the processes of the next measurement."""
        self._runners.launch(SITTINGS)

    def settle(self) -> None:
        """Wait until no process is starting."""
        self._runners.settle()

    def close(self) -> None:
        """Stop all processes."""
        self._runners.close()


def run_in_worker(function: Any, arguments: tuple[Any, ...], threads: int | None) -> Any:
    """Result of one job in a process of its own."""
    with closing(runner_pool(threads or core_count(), timeout=_TIMEOUT)) as runner:
        [result] = runner.map(function, [arguments])
    return _checked(result)


def _checked(result: Any) -> Any:
    if isinstance(result, Failed):
        raise MeasureError(f"the model does not run: {result.cause}")
    return result


def runner_pool(threads: int, workers: int = 1, *, timeout: float) -> WorkerPool:
    """A pool of processes in which TVM's thread pool has `threads` threads each."""
    return WorkerPool(
        workers,
        timeout=timeout,
        imports=("tvm_prune.measure.jobs",),
        environment={"TVM_NUM_THREADS": str(threads)},
        maximum_uses=_MAXIMUM_USES,
    )
