"""What a worker does with a server: run kernels, run and time whole models, in one session.

These functions run in worker processes of :mod:`tvm_prune.measure.pool` only: a server that hangs
hangs the process that talks to it, which is killed then. They yield what they are at, so that the
time-out is that of a step. A session ends with its job, and the server is free again.
"""

from __future__ import annotations

import functools
import gc
import itertools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import tvm

from tvm_prune.measure.facts import describe_server
from tvm_prune.measure.jobs import flat_tensors, parameter_names
from tvm_prune.measure.pool import Failed
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.terms import SessionTerms
from tvm_prune.measure.tracker import Server
from tvm_prune.measure.turns import Signature, time_in_turns
from tvm_prune.measure.worker import describe
from tvm_prune.measurement import Array

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Steps = Generator[int, None, Result]
Job = Callable[Arguments, Steps[Result]]


@dataclass(frozen=True)
class Told(Generic[Result]):
    """A result, and what the server's agent tells of its board at that time.

    Attributes:
        result: of the job.
        facts: see :func:`~tvm_prune.measure.facts.describe_server`.
    """

    result: Result
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A model that does not run on a server that works."""

    cause: str


def _ending_its_session(job: Job[Arguments, Result]) -> Job[Arguments, Result]:
    """The job, after whose steps its session ends: objects of TVM's hold it in cycles."""

    @functools.wraps(job)
    def steps(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Steps[Result]:
        gc.freeze()  # what is there now stays, and need not be looked at
        result = yield from job(*args, **kwargs)
        gc.collect()
        return result

    return steps


@_ending_its_session
def run_kernels(
    server: Server,
    limit: float,
    kernels: Sequence[tuple[str, Signature]],
    repeats: Repeats,
    terms: SessionTerms,
) -> Steps[Told[list[list[float] | Failed]]]:
    """Run kernels on a server; see :func:`~tvm_prune.measure.turns.time_in_turns`.

    Args:
        server: from the tracker, for this session only.
        limit: seconds after which the server ends the session by itself.
        kernels: path of each library on this machine, and the kernel's arguments.
        repeats: how often to run each.
        terms: what the session has to be like.
    """
    session = _connect(server, limit)
    terms.begin(session)
    names = (f"{number}.so" for number in itertools.count())

    def load(path: str) -> Any:
        # Another name each time: the server would overwrite what it has mapped.
        name = next(names)
        terms.upload(session, path, name)
        return session.load_module(name)

    ping = functools.partial(_ping, session)
    outcomes = yield from time_in_turns(kernels, load, session.cpu(), repeats, ping)
    return Told(outcomes, describe_server(session))


@_ending_its_session
def run_model(
    server: Server,
    limit: float,
    library: str,
    inputs: Sequence[Mapping[str, Array]],
    terms: SessionTerms,
) -> Steps[list[list[Array]] | Refused]:
    """Outputs of a Relax executable for each of `inputs`, nested tuples flattened."""
    yield 0
    session = _connect(server, limit)
    try:
        machine, names = _load_model(session, library, "model.so", terms)
        outputs = []
        for step, arrays in enumerate(inputs, start=1):
            yield step
            _bind(machine, names, arrays, session.cpu())
            machine.invoke_stateful("main")
            tensors = flat_tensors(machine.get_outputs("main"))
            outputs.append([tensor.numpy() for tensor in tensors])
        return outputs
    except Exception as error:
        _ping(session, error)
        return Refused(describe(error))


@_ending_its_session
def time_models(
    server: Server,
    limit: float,
    libraries: Sequence[str],
    inputs: Mapping[str, Array],
    rounds: int,
    repeats: Repeats,
    terms: SessionTerms,
) -> Steps[Told[list[list[float]]] | Refused]:
    """Seconds per call of several Relax executables that take turns: `rounds` samples of each."""
    yield 0
    session = _connect(server, limit)
    terms.begin(session)
    try:
        samples: list[list[float]] = [[] for _ in libraries]
        calls = []
        for step, library in enumerate(libraries, start=1):
            yield step
            machine, names = _load_model(session, library, f"model-{step}.so", terms)
            _bind(machine, names, inputs, session.cpu())
            seconds = _timer(machine, session.cpu(), 1)()
            calls.append(_timer(machine, session.cpu(), repeats.plan(seconds)[0]))
            if repeats.exact:
                samples[step - 1].append(seconds)
        for step, call in repeats.warming_up(list(enumerate(calls, start=1))):
            yield step
            call()
        for _ in range(0 if repeats.exact else rounds):
            for step, (call, taken) in enumerate(zip(calls, samples, strict=True), start=1):
                yield step
                time.sleep(repeats.cooldown)
                taken.append(call())
        return Told(samples, describe_server(session))
    except Exception as error:
        _ping(session, error)
        return Refused(describe(error))


@_ending_its_session
def keep_file(server: Server, limit: float, library: str, name: str) -> Steps[str | Refused]:
    """Leave a file on a server, whose agent has a folder for it; gives its path there."""
    yield 0
    session = _connect(server, limit)
    try:
        keep = session.get_function("tvm_prune.agent.keep")
    except AttributeError:
        return Refused("TVM's own server keeps no files; run tvm-prune's agent on the board")
    try:
        session.upload(library, name)
        return str(keep(name, name))
    except Exception as error:
        _ping(session, error)
        return Refused(describe(error))


@_ending_its_session
def describe_board(server: Server, limit: float) -> Steps[dict[str, Any]]:
    """What the agent on a server tells of its board; nothing where TVM's own server runs."""
    yield 0
    return describe_server(_connect(server, limit))


def _connect(server: Server, limit: float) -> Any:
    from tvm import rpc

    return rpc.connect(server.host, server.port, server.matchkey, session_timeout=limit)


def _ping(session: Any, error: Exception | None = None) -> None:
    """Raises where the session is dead: what failed in it, where that is known, tells why."""
    try:
        session.get_function("tvm.rpc.server.upload")
    except Exception as gone:
        raise error or gone from gone


def _load_model(
    session: Any, library: str, name: str, terms: SessionTerms
) -> tuple[Any, list[str]]:
    """The virtual machine of an executable, uploaded as `name`, and its ``main``'s parameters.

    No two of a session may have one name: the server would overwrite what it has mapped.
    """
    from tvm import relax

    terms.upload(session, library, name)
    machine = relax.VirtualMachine(session.load_module(name), session.cpu())
    return machine, parameter_names(machine)


def _bind(machine: Any, names: Sequence[str], arrays: Mapping[str, Array], device: Any) -> None:
    """Send the inputs of the next calls."""
    if set(names) != set(arrays):
        raise ValueError(f"the model takes {sorted(names)}, not {sorted(arrays)}")
    machine.set_input(
        "main",
        *(tvm.runtime.tensor(np.ascontiguousarray(arrays[name]), device) for name in names),
    )


def _timer(machine: Any, device: Any, number: int) -> Callable[[], float]:
    """Mean seconds of `number` calls, on the server's own clock, after a first call."""
    evaluate = machine.time_evaluator("invoke_stateful", device, number=number, repeat=1)
    return lambda: float(evaluate("main").results[0])
