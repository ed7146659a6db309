"""Kernels at any widths without lowering the model.

TVM writes a PrimFunc as JSON: a list of nodes that refer to one another by position. The kernels of
a dense and a pruned model have the same nodes but for the values of some integers, and each of
these is an affine function of widths. A template is that text with holes; filling them takes a
millisecond, where lowering the model takes seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_prune.latency.affine import Affine, fit_affine
from tvm_prune.tuning import KernelCall, Workload

Widths = tuple[int, ...]
"""Width of every group of the model."""

Lowering = Callable[[Widths], Sequence[KernelCall]]
"""Kernel calls, in program order, of the model pruned to the given widths."""

_INTEGER = "ir.IntImm"
_NUMBER = "int"
_NO_REFERENCES = frozenset(
    ("ndim", "iter_type", "kind", "data_alignment", "offset_factor", "purity", "value")
)
"""Fields of nodes that hold plain numbers, not positions of other nodes."""

_Place = tuple[Any, Any]
"""The fields of a node, and one of them."""
_HOLE = re.compile(r'"hole (\d+)"')


@dataclass(frozen=True)
class LoweredKernel:
    """A kernel at any widths, by lowering the whole model.

    Attributes:
        lowering: gives the kernel calls at any widths.
        dense: dense width of every group of the model.
        groups: indices of the groups the kernel depends on.
        position: its first call in the program.
    """

    lowering: Lowering
    dense: Widths
    groups: tuple[int, ...]
    position: int

    def at(self, widths: tuple[int, ...]) -> Workload:
        """The kernel at these widths of its own groups; all others are dense."""
        everything = list(self.dense)
        for group, width in zip(self.groups, widths, strict=True):
            everything[group] = width
        return self.lowering(tuple(everything))[self.position].workload


@dataclass(frozen=True)
class KernelTemplate:
    """A kernel at any widths, by filling in its integers.

    Attributes:
        parts: the text around the holes, one part more than there are holes.
        holes: the integers in the holes.
        lowered: the same kernel by lowering, for widths of one channel, where TVM simplifies it.
    """

    parts: tuple[str, ...]
    holes: Affine
    lowered: LoweredKernel

    def at(self, widths: tuple[int, ...]) -> Workload:
        """The kernel at these widths of its own groups."""
        return self.lowered.at(widths) if 1 in widths else self.filled(widths)

    def filled(self, widths: tuple[int, ...]) -> Workload:
        """The text with its holes filled, read back."""
        row = np.array(widths, dtype=np.float64).reshape(1, len(widths))
        numbers = map(str, self.holes.at(row)[0].tolist())
        text = [piece for pair in zip(self.parts, numbers, strict=False) for piece in pair]
        function = tvm.ir.load_json("".join([*text, self.parts[-1]]))
        return Workload(tvm.IRModule({"main": function}))


def kernel_template(
    workload: Workload,
    narrowed: Mapping[int, Workload],
    dense: Widths,
    lowered: LoweredKernel,
) -> KernelTemplate | None:
    """The template of a kernel, or None where more than integers differ between its forms.

    Args:
        workload: the dense kernel.
        narrowed: for each group that it depends on, the kernel with that group at half its width.
        dense: dense width of every group of the model.
        lowered: the same kernel by lowering.
    """
    document = _document(workload)
    forms = [document, *(_document(other) for other in narrowed.values())]
    if any(_structure(form) != _structure(document) for form in forms):
        return None
    numbers = [[_value(form, place) for place in _integers(form)] for form in forms]
    if any(len(values) != len(numbers[0]) for values in numbers):
        return None
    steps = [dense[group] - dense[group] // 2 for group in narrowed]
    own: NDArray[np.float64] = np.array([dense[group] for group in narrowed], dtype=np.float64)
    columns = list(zip(*numbers, strict=True))
    changing = [index for index, values in enumerate(columns) if len(set(values)) > 1]
    _open_holes(document, changing)
    parts = _HOLE.split(json.dumps(document, separators=(",", ":")))
    base, *probes = [[values[index] for index in changing] for values in numbers]
    return KernelTemplate(tuple(parts[::2]), fit_affine(base, probes, steps, own), lowered)


def _document(workload: Workload) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(tvm.ir.save_json(workload.mod["main"]))
    return document


def _structure(document: Mapping[str, Any]) -> list[str]:
    """Kinds of all nodes but integers, which are one node where they happen to be equal."""
    kinds = [node["type"] for node in document["nodes"]]
    return [kind for kind in kinds if kind not in (_INTEGER, _NUMBER)]


def _integers(document: Mapping[str, Any]) -> list[_Place]:
    """Every place that refers to an integer of the program, in order."""
    nodes = document["nodes"]
    places = []
    for node in nodes:
        data = node.get("data")
        if isinstance(data, list):
            entries = list(enumerate(data))
        elif isinstance(data, dict):
            entries = [entry for entry in data.items() if entry[0] not in _NO_REFERENCES]
        else:
            continue
        places += [
            (data, key) for key, target in entries if _is_integer(nodes, node["type"], target)
        ]
    return places


def _is_integer(nodes: Sequence[Mapping[str, Any]], kind: str, target: Any) -> bool:
    return kind != _INTEGER and type(target) is int and nodes[target]["type"] == _INTEGER


def _value(document: Mapping[str, Any], place: _Place) -> int:
    nodes = document["nodes"]
    data, key = place
    return int(nodes[nodes[data[key]]["data"]["value"]]["data"])


def _open_holes(document: dict[str, Any], positions: Sequence[int]) -> None:
    """Let places refer to integers of their own, which are holes."""
    nodes = document["nodes"]
    places = _integers(document)
    for hole, position in enumerate(positions):
        data, key = places[position]
        shared = nodes[data[key]]
        data[key] = len(nodes)
        nodes.append({**shared, "data": {**shared["data"], "value": len(nodes) + 1}})
        nodes.append({"type": _NUMBER, "data": f"hole {hole}"})
