"""Measure on boards that run TVM's RPC server and are known to a tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.errors import MeasureError
from tvm_prune.machine import Conditions
from tvm_prune.measure import rpc_jobs
from tvm_prune.measure.building import KernelBuilder
from tvm_prune.measure.clocks import CLOCKS, Clock
from tvm_prune.measure.facts import conditions_of
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measure.repeats import Repeats, divided, pooled
from tvm_prune.measure.rpc_jobs import Refused, Told
from tvm_prune.measure.servers import Finder, Servers
from tvm_prune.measure.terms import SessionTerms
from tvm_prune.measure.tracker import Server
from tvm_prune.measure.turns import batches
from tvm_prune.measurement import LOST, Array, Artifact, Failure, Measurement

_MOST_SERVERS = 64
_TRIES = 2
"""Servers, or sessions with the only one, that a kernel or model may take along before it fails."""


class RpcMeasurer:
    """Builds kernels here and runs them on all servers that have one key, at the same time.

    Kernels take turns on each server. A process of its own talks to each server, so that one that
    hangs costs a process. What a server did not answer is tried on another one; a server that
    fails again and again is set aside. Where none is left, the kernels not yet measured become
    failures of the stage ``lost``.

    Args:
        target: LLVM target of the board.
        tracker: knows the servers; it is closed with the measurer.
        terms: what sessions have to be like; the servers' clocks tell seconds by default.
        linker: compiler driver that links for the board; this machine's linker by default.
        executor: runs the builds; processes of this machine by default. It is not shut down.
        builders: number of those processes; all processors by default.
        build_timeout: seconds that one build may take.
        run_timeout: seconds that one kernel may run without a sign of life.
        model_timeout: the same for a whole model, its upload included.
        server_timeout: seconds to wait for a server that is free.
        repeats: how long each kernel is run.
    """

    def __init__(
        self,
        target: Target,
        tracker: Finder,
        *,
        terms: SessionTerms | None = None,
        linker: str | None = None,
        executor: Executor | None = None,
        builders: int | None = None,
        build_timeout: float = 60.0,
        run_timeout: float = 20.0,
        model_timeout: float = 600.0,
        server_timeout: float = 120.0,
        repeats: Repeats | None = None,
    ) -> None:
        self._repeats = repeats or Repeats()
        self._terms = terms or SessionTerms()
        self._clock = CLOCKS[self._terms.clock]
        self._tracker = tracker
        self._servers = Servers(tracker, server_timeout)
        self._builder = KernelBuilder(
            target, linker=linker, executor=executor, builders=builders, timeout=build_timeout
        )
        self._run_timeout, self._model_timeout = run_timeout, model_timeout
        self._kernel_runners = _runners(run_timeout)
        self._model_runners = _runners(model_timeout)

    @property
    def unit(self) -> str:
        """What the servers' clocks count, ``seconds`` by default."""
        return self._clock.unit

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Compile scheduled modules to shared libraries for the board."""
        return self._builder.build(modules)

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure kernels on all servers that are free."""
        runners, timeout = self._kernel_runners, self._run_timeout
        terms = self._terms
        return _Runs(self._servers, runners, self._repeats, terms, timeout).run(artifacts)

    def run_model(self, library: Path, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """Outputs of a model for every input; see :class:`~tvm_prune.measurement.ModelRunner`."""
        outputs: list[list[Array]] = self._on_a_server(
            rpc_jobs.run_model,
            str(library),
            [dict(arrays) for arrays in inputs],
            self._terms,
        )
        return outputs

    def time_models(
        self, libraries: Sequence[Path], inputs: Mapping[str, Array], *, rounds: int = 15
    ) -> list[Measurement]:
        """Latencies of models that take turns; see :class:`~tvm_prune.measurement.ModelRunner`."""
        paths, length = [str(library) for library in libraries], self._repeats
        sittings = [
            self._on_a_server(rpc_jobs.time_models, paths, dict(inputs), turns, length, self._terms)
            for turns in ([rounds] if length.exact else divided(rounds))
        ]
        now = conditions_of(sittings[-1].facts)
        samples = pooled(told.result for told in sittings)
        return [_measurement(taken, self._clock, now) for taken in samples]

    def describe(self) -> dict[str, Any]:
        """What a server's agent tells of the board; nothing where TVM's own server runs.

        Raises:
            MeasureError: if no server answers.
        """
        facts: dict[str, Any] = self._on_a_server(rpc_jobs.describe_board)
        return facts

    def keep(self, library: Path, name: str) -> str:
        """Leave a library on the board, under a name; returns its path there.

        Raises:
            MeasureError: if the server keeps no files.
        """
        return str(self._on_a_server(rpc_jobs.keep_file, str(library), name))

    def close(self) -> None:
        """Stop all processes, which ends their sessions, and delete all artifacts."""
        self._builder.close()
        self._kernel_runners.close()
        self._model_runners.close()
        self._tracker.close()

    def _on_a_server(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Result of a job about whole models, on another server where the first one fails."""
        cause = ""
        for _ in range(_TRIES):
            self._servers.usable()
            self._model_runners.start(1)
            [server] = self._servers.acquire(1)
            job = (server, 2 * self._model_timeout, *arguments)
            [result] = self._model_runners.map(function, [job])
            if isinstance(result, Refused):
                raise MeasureError(f"the board refuses the model: {result.cause}")
            if not isinstance(result, Failed):
                self._servers.trust(server)
                return result
            cause = f"{server.name}: {result.cause}"
            self._servers.blame(server, result.cause)
        raise MeasureError(f"the model does not run on the board: {cause}")


class _Runs:
    """The measuring of some kernels, until each one has an outcome."""

    def __init__(
        self,
        servers: Servers,
        runners: WorkerPool,
        repeats: Repeats,
        terms: SessionTerms,
        timeout: float,
    ) -> None:
        self._servers = servers
        self._runners = runners
        self._repeats = repeats
        self._terms = terms
        self._timeout = timeout
        self._outcomes: dict[int, Measurement | Failure] = {}
        self._fatal: dict[int, list[str]] = {}
        """Servers whose sessions ended while a kernel ran, by kernel."""

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure all; those that no server is left for are lost."""
        indices = range(len(artifacts))
        try:
            while left := [index for index in indices if index not in self._outcomes]:
                self._round(artifacts, left)
        except MeasureError as error:
            return [self._outcomes.get(index, Failure(LOST, str(error))) for index in indices]
        return [self._outcomes[index] for index in indices]

    def _round(self, artifacts: Sequence[Artifact], left: Sequence[int]) -> None:
        """Give every free server its share of the kernels, and wait for all of them.

        Kernels that have cost a session come last, each in a session of its own.
        """
        fresh = [index for index in left if index not in self._fatal]
        # A server that waits for us too long takes its offer back: we have to be ready first.
        self._runners.start(min(self._servers.usable(), len(fresh or left)))
        servers = self._servers.acquire(len(fresh or left), self._fatal.get(left[0], ()))
        count = len(servers)
        shares = [fresh[k::count] for k in range(count)] if fresh else [[i] for i in left[:count]]
        jobs = []
        for position, (server, share) in enumerate(zip(servers, shares, strict=True)):
            first = next(batches([artifacts[index].arguments for index in share]))
            shares[position] = share = share[: len(first)]
            kernels = [(str(artifacts[i].path), artifacts[i].arguments) for i in share]
            jobs.append(
                (server, self._timeout * (len(share) + 1), kernels, self._repeats, self._terms)
            )
        results = self._runners.map(rpc_jobs.run_kernels, jobs)
        for server, share, result in zip(servers, shares, results, strict=True):
            self._learn(server, share, result)

    def _learn(
        self,
        server: Server,
        share: Sequence[int],
        result: Told[list[list[float] | Failed]] | Failed,
    ) -> None:
        """Keep what a session gave; where it broke, the kernel that ran then is suspect."""
        if not isinstance(result, Failed):
            self._servers.trust(server)
            now = conditions_of(result.facts)
            clock = CLOCKS[self._terms.clock]
            outcomes = (_outcome(each, clock, now) for each in result.result)
            self._outcomes |= dict(zip(share, outcomes, strict=True))
            return
        self._servers.blame(server, result.cause)
        if result.at is None:
            return
        suspect = share[result.at]
        self._fatal.setdefault(suspect, []).append(server.name)
        if len(self._fatal[suspect]) >= _TRIES:
            names = ", ".join(self._fatal[suspect])
            self._outcomes[suspect] = Failure("run", f"{result.cause} (tried on {names})")


def _runners(timeout: float) -> WorkerPool:
    """A process for each server; they start when there is a server for them."""
    return WorkerPool(_MOST_SERVERS, timeout=timeout, imports=("tvm_prune.measure.rpc_jobs",))


def _outcome(result: list[float] | Failed, clock: Clock, now: Conditions) -> Measurement | Failure:
    if isinstance(result, Failed):
        return Failure("run", result.cause)
    return _measurement(result, clock, now)


def _measurement(seconds: Sequence[float], clock: Clock, now: Conditions) -> Measurement:
    return Measurement(tuple(map(clock.cost, seconds)), clock.unit, now)
