"""Measure on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.board import Board
from tvm_prune.machine import conditions
from tvm_prune.measure import jobs
from tvm_prune.measure.batches import run_executable_batches
from tvm_prune.measure.building import KernelBuilder
from tvm_prune.measure.executable import ModelTimer, runner_pool
from tvm_prune.measure.pool import Failed
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.turns import batches
from tvm_prune.measurement import Array, Artifact, Failure, Measurement


class LocalMeasurer:
    """Builds kernels in parallel processes and runs them, in turns, in another process.

    Processes live as long as the measurer. A kernel that crashes, hangs or does not compile
    becomes a :class:`Failure` and costs one process, which is replaced.

    Args:
        target: LLVM target of this machine. Its ``num-cores`` is the size of the thread pool that
            kernels run with.
        executor: runs the builds; processes of this machine by default. It is not shut down.
        builders: number of those processes; all processors by default.
        build_timeout: seconds that one build may take.
        run_timeout: seconds that one kernel may run without a sign of life.
        repeats: how long each kernel is run.
    """

    def __init__(
        self,
        target: Target,
        *,
        executor: Executor | None = None,
        builders: int | None = None,
        build_timeout: float = 60.0,
        run_timeout: float = 20.0,
        repeats: Repeats | None = None,
    ) -> None:
        self._threads = int(target.attrs.get("num-cores", 1))
        self._repeats = repeats or Repeats()
        self._builder = KernelBuilder(
            target, executor=executor, builders=builders, timeout=build_timeout
        )
        self._runner = runner_pool(self._threads, timeout=run_timeout)
        self._models = ModelTimer(self._threads)

    @property
    def unit(self) -> str:
        """``seconds``."""
        return "seconds"

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Compile scheduled modules to shared libraries, each in a folder of its own."""
        return self._builder.build(modules)

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure kernels in turns, on randomly filled arguments and a warm cache."""
        self._models.settle()
        outcomes: list[Measurement | Failure] = []
        for batch in batches([artifact.arguments for artifact in artifacts]):
            outcomes += self._run_in_turns([artifacts[index] for index in batch])
        return outcomes

    def run_model(self, library: Path, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """Outputs of a model for every input; see :class:`~tvm_prune.measurement.ModelRunner`."""
        return run_executable_batches(library, inputs, threads=self._threads)

    def time_models(
        self, libraries: Sequence[Path], inputs: Mapping[str, Array], *, rounds: int = 15
    ) -> list[Measurement]:
        """Latencies of models that take turns; see :class:`~tvm_prune.measurement.ModelRunner`.

        Where models are measured there will be others: the processes for the next ones start while
        those are compiled.
        """
        repeats = Repeats(cooldown=self._repeats.cooldown)
        found = self._models.measure(libraries, inputs, rounds=rounds, repeats=repeats)
        self._models.foresee()
        return found

    def close(self) -> None:
        """Stop all processes and delete all artifacts."""
        self._builder.close()
        self._runner.close()
        self._models.close()

    def _run_in_turns(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure kernels; those that cost the process are left out, and the others run again."""
        outcomes: dict[int, Measurement | Failure] = {}
        while left := [index for index in range(len(artifacts)) if index not in outcomes]:
            kernels = [(str(artifacts[i].path), artifacts[i].arguments) for i in left]
            [result] = self._runner.map(jobs.run_kernels, [(kernels, self._repeats)])
            if isinstance(result, Failed):
                outcomes[left[result.at or 0]] = Failure("run", result.cause)
            else:
                outcomes |= dict(zip(left, map(self._outcome, result), strict=True))
        return [outcomes[index] for index in range(len(artifacts))]

    def _outcome(self, result: Any) -> Measurement | Failure:
        if isinstance(result, Failed):
            return Failure("run", result.cause)
        return Measurement(tuple(result), self.unit, conditions())


def open_this_machine(
    board: Board, executor: Executor | None, _tracker: str | None
) -> LocalMeasurer:
    """A measurer for a board that is this machine."""
    return LocalMeasurer(
        board.tvm_target(),
        executor=executor,
        repeats=Repeats(samples=board.repeats, cooldown=board.cooldown),
    )
