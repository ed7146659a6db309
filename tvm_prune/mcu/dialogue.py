"""What is asked of the firmware: write inputs, run the model, read outputs and costs."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tvm_prune.errors import MeasureError
from tvm_prune.mcu.frames import PAYLOAD
from tvm_prune.model import TensorSpec

PROTOCOL = 1
_CHUNK = PAYLOAD - 8
_WORD = struct.Struct("<I")
_PLACE = struct.Struct("<II")
_PART = struct.Struct("<III")
_RUN = struct.Struct("<QI")

Array = npt.NDArray[Any]
Request = tuple[str, bytes]
"""Kind and payload of a request."""


class Link(Protocol):
    """A way to a board that runs the firmware."""

    def exchange(self, requests: Sequence[Request]) -> list[bytes]:
        """Payloads of the replies, in order.

        Raises:
            MeasureError: if the board does not answer, or its firmware faults.
        """


@dataclass(frozen=True)
class Description:
    """What a firmware says of itself.

    Attributes:
        name: the model's name.
        unit: ``instructions`` or ``cycles``.
        clock_hz: frequency of the processor; 0 where time means nothing.
        kernels: kernel calls of one run.
        inputs: bytes of every input.
        outputs: bytes of every output.
    """

    name: str
    unit: str
    clock_hz: int
    kernels: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """What running a model told.

    Attributes:
        unit: of the costs.
        outputs: of every run.
        costs: of every run.
        stack: most bytes of the stack in use, ever.
        kernels: cost of every kernel call of the last run; empty where it was not asked for.
    """

    unit: str
    outputs: tuple[tuple[Array, ...], ...]
    costs: tuple[int, ...]
    stack: int
    kernels: tuple[int, ...] = ()


def describe(link: Link) -> Description:
    """Ask the firmware what it is.

    Raises:
        MeasureError: if it does not answer, or speaks another version of the protocol.
    """
    return _description(link.exchange([("H", b"")])[0])


def time_model(link: Link, specs: Sequence[TensorSpec], rounds: int = 1) -> Report:
    """Run a model some times on inputs that mean nothing.

    Args:
        link: to the board.
        specs: the model's inputs.
        rounds: runs.
    """
    fill = list(_fill(specs))
    replies = link.exchange([("H", b""), *([*fill, ("R", b"")] * rounds)])
    return _timed(replies[0], replies[len(fill) + 1 :: len(fill) + 1])


def profile_model(link: Link, specs: Sequence[TensorSpec], kernels: int) -> Report:
    """Run a model once and ask what each kernel call cost; the firmware was built to tell it.

    Args:
        link: to the board.
        specs: the model's inputs.
        kernels: number of kernel calls.
    """
    fill = list(_fill(specs))
    reads = [("K", _WORD.pack(first)) for first in range(0, kernels, PAYLOAD // 8)]
    replies = link.exchange([("H", b""), *fill, ("R", b""), *reads])
    run = _timed(replies[0], [replies[len(fill) + 1]])
    costs = struct.unpack(f"<{kernels}Q", b"".join(replies[len(fill) + 2 :]))
    return replace(run, kernels=costs)


def _timed(description: bytes, runs: Sequence[bytes]) -> Report:
    costs, stacks = zip(*map(_RUN.unpack, runs), strict=True)
    return Report(_description(description).unit, (), costs, max(stacks))


def _fill(specs: Sequence[TensorSpec]) -> Iterator[Request]:
    """The firmware fills floats by itself; anything else might index something, and is zero."""
    if all(spec.dtype == "float32" for spec in specs):
        yield "G", b""
    else:
        yield from _writes(specs, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs})


def run_model(
    link: Link,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    batches: Sequence[Mapping[str, Array]],
) -> Report:
    """Outputs and cost of a model for every input.

    Args:
        link: to the board.
        inputs: the model's inputs.
        outputs: the model's outputs.
        batches: for each run, an array for every input, by name.
    """
    reads = list(_reads(outputs))
    plans = [[*_writes(inputs, batch), ("R", b""), *reads] for batch in batches]
    replies = link.exchange([("H", b""), *(request for plan in plans for request in plan)])
    unit, position = _description(replies[0]).unit, 1
    results, costs, stack = [], [], 0
    for plan in plans:
        answers = replies[position : position + len(plan)]
        position += len(plan)
        cost, used = _RUN.unpack(answers[len(plan) - len(reads) - 1])
        costs.append(cost)
        stack = max(stack, used)
        results.append(_arrays(outputs, b"".join(answers[len(plan) - len(reads) :])))
    return Report(unit, tuple(results), tuple(costs), stack)


def _description(payload: bytes) -> Description:
    words = struct.unpack_from("<5I", payload)
    if words[0] != PROTOCOL:
        raise MeasureError(
            f"the firmware speaks version {words[0]} of the protocol, this program {PROTOCOL}; "
            "build and flash it again"
        )
    _, clock_hz, kernels, inputs, outputs = words
    sizes = struct.unpack_from(f"<{inputs + outputs}I", payload, 20)
    unit, name = payload[20 + 4 * len(sizes) :].split(b"\0")[:2]
    return Description(
        name.decode(), unit.decode(), clock_hz, kernels, sizes[:inputs], sizes[inputs:]
    )


def with_cost(payload: bytes, cost: int) -> bytes:
    """The reply to a run, with another cost in it."""
    _, stack = _RUN.unpack(payload)
    return _RUN.pack(cost, stack)


def with_unit(payload: bytes, unit: str) -> bytes:
    """A firmware's description of itself, with another unit in it."""
    old = _description(payload)
    texts = 20 + 4 * (len(old.inputs) + len(old.outputs))
    return payload[:texts] + f"{unit}\0{old.name}\0".encode()


def _writes(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> Iterator[Request]:
    for index, spec in enumerate(specs):
        content = np.ascontiguousarray(arrays[spec.name], dtype=spec.dtype).tobytes()
        for offset in range(0, len(content), _CHUNK):
            yield "W", _PLACE.pack(index, offset) + content[offset : offset + _CHUNK]


def _reads(specs: Sequence[TensorSpec]) -> Iterator[Request]:
    for index, spec in enumerate(specs):
        size = _size(spec)
        for offset in range(0, size, PAYLOAD):
            yield "O", _PART.pack(index, offset, min(PAYLOAD, size - offset))


def _arrays(specs: Sequence[TensorSpec], content: bytes) -> tuple[Array, ...]:
    found, start = [], 0
    for spec in specs:
        part = content[start : start + _size(spec)]
        found.append(np.frombuffer(part, dtype=spec.dtype).reshape(spec.shape).copy())
        start += len(part)
    return tuple(found)


def _size(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
