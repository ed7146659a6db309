"""Runs a model over many samples, node after node, without keeping more than a few tensors.

A walk goes through a model once, from its inputs to its outputs. Where the tensors that the rest of
the model needs are small enough for all samples together, they are kept as a checkpoint, and what
comes after starts from there. Large tensors stand at the beginning of a network, where computing
them again from the inputs is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from tvm_prune.activations.graph import Graph
from tvm_prune.model import Array

MEMORY = 1 << 30
"""Bytes that a checkpoint may take."""

Batch = Mapping[str, Array]


@dataclass
class Walk:
    """A model on its way through the samples.

    Attributes:
        graph: the model.
        batches: inputs, one batch after the other.
        memory: bytes that a checkpoint may take.
    """

    graph: Graph
    batches: Sequence[Batch]
    memory: int = MEMORY
    checkpoint: Sequence[Batch] = field(init=False)
    """Tensors that everything after some node can be computed from, batch after batch."""

    def __post_init__(self) -> None:
        self.checkpoint = self.batches

    def advance(self, position: int, values: Mapping[str, Array]) -> None:
        """Keep what a node and those after it need, where there is room for it.

        Args:
            position: index of the node; it never gets smaller.
            values: parameters in place of the model's own; those of earlier nodes are final.
        """
        names = self.graph.live(position)
        held = set(self.checkpoint[0])
        if held == set(names):
            return
        if set(names) < held:
            self.checkpoint = [{n: batch[n] for n in names} for batch in self.checkpoint]
        elif all(map(self.graph.knows, names)) and self._size(names) <= self.memory:
            self.checkpoint = list(self.stream(names, values))

    @property
    def is_at_inputs(self) -> bool:
        """Whether everything is still computed from the inputs."""
        return self.checkpoint is self.batches

    def stream(
        self, names: Sequence[str], values: Mapping[str, Array], stride: int = 1
    ) -> Iterator[Batch]:
        """Some tensors of the model, batch after batch.

        Args:
            names: tensors that are computed after the walk's position, or live there.
            values: parameters in place of the model's own.
            stride: one of so many batches is looked at.
        """
        held = list(self.checkpoint[0])
        computed = [name for name in names if name not in held]
        session = self.graph.session(computed, held, values) if computed else None
        inputs = [value.name for value in session.get_inputs()] if session else []
        for batch in self.checkpoint[::stride]:
            outputs = session.run(computed, {n: batch[n] for n in inputs}) if session else []
            made = dict(zip(computed, outputs, strict=True))
            yield {name: made[name] if name in made else batch[name] for name in names}

    def _size(self, names: Sequence[str]) -> int:
        """Bytes of some tensors for all samples, four a value."""
        given = set(self.graph.inputs)
        values = sum(math.prod(self.graph.shape(name)) for name in names if name not in given)
        return values * 4 * len(self.batches)


def activations(
    model: onnx.ModelProto,
    parameters: Mapping[str, Array],
    names: Sequence[str],
    batches: Sequence[Batch],
) -> list[Array]:
    """Activations of a model, one stacked array a name, all in memory.

    Args:
        model: the ONNX model.
        parameters: values in place of those of its initializers.
        names: tensors of its graph.
        batches: inputs, one batch after the other.
    """
    rows = list(Walk(Graph(model), batches).stream(names, parameters))
    return [np.concatenate([row[name] for row in rows]) for name in names]
