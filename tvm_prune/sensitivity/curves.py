"""Sensitivity curves: loss of every group at a few widths, measured with recovery applied.

For each group by itself: the layers that read it are refitted by least squares to the channels that
stay (or just lose the others, where nothing will be recovered), and the rest of the network is run
on the dense activations, which are computed once and kept as a checkpoint. Samples that the layers
are fitted to are not those that the loss is told on, where there are more than one. Losses of
several groups add up to first order, as small independent disturbances do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations import Graph, Walk
from tvm_prune.channels import Limits, keep_best, spread_widths
from tvm_prune.importance import LABEL, Context
from tvm_prune.importance.predictions import is_prediction, log_chances
from tvm_prune.model import Array
from tvm_prune.operations import multiply_accumulates
from tvm_prune.sensitivity.refit import Reader, find_readers, with_shifts

WIDTHS = 12
"""Widths that each group is tried at, the dense one aside."""
SAMPLES = (16, 256)
"""Batches that the loss is told on: at least, and at most."""
_LEAST = 1e-6
"""Share of the largest loss that smaller ones are told apart down to."""
WORK = 5e12
"""Multiply-accumulates that all curves may take, about; large networks get fewer batches."""


@dataclass(frozen=True)
class Curve:
    """Loss of a group by width.

    Attributes:
        loss: how much the output moves at every width, shape (width + 1,); never rises with the
            width, and is zero at the dense one. In nats where the output is a row of logits,
            else as a share of the output's variance.
        widths: widths that were measured; between them the loss's logarithm is interpolated.
    """

    loss: NDArray[np.float64]
    widths: tuple[int, ...]


def sensitivity_curves(
    context: Context,
    scores: Sequence[NDArray[np.float64]],
    limits: Limits,
    on_group: Callable[[int], None] = lambda _index: None,
    *,
    recover: bool = True,
) -> list[Curve | None]:
    """A curve for every group; None where no layer is known that reads the group's channels.

    Args:
        context: the model and its samples; with labels, the loss is the cross-entropy's increase.
        scores: importance of every unit; the best ones stay.
        limits: lowest and highest width of every group.
        on_group: told how many groups are done.
        recover: whether the layers that read a group are refitted to what is left of it.

    Raises:
        PruneError: if there are no samples, or the model has no ONNX form.
    """
    graph, batches = Graph(context.onnx), context.batches()
    count = min(_sample_count(context), -(-len(batches) // 2))
    readers = find_readers(context, graph, (batches[count:] or batches) if recover else [])
    walk = Walk(graph, batches[:count])
    judge = _Judge.of(context, graph, list(walk.stream(graph.outputs, {})))
    curves: list[Curve | None] = [None] * len(scores)
    first = {
        index: min(graph.made_at[reader.consumer.layer.node.output[0]] for reader in own)
        for index, own in enumerate(readers)
        if own
    }
    for done, index in enumerate(sorted(first, key=lambda index: first[index]), start=1):
        walk.advance(first[index], {})
        curves[index] = _curve(walk, readers[index], scores[index], limits[index], judge)
        on_group(done)
    return curves


def output_loss(dense: Sequence[Array], found: Sequence[Array]) -> float:
    """How far outputs are from those of the dense model, in the unit of the curves."""
    return _Judge(list(dense), None).loss([list(found)])


def _sample_count(context: Context) -> int:
    """Batches that there is time for; on average half of the network is run for each width."""
    macs = multiply_accumulates(context.required_model.module)
    runs = WIDTHS * len(context.channels.groups)
    fewest, most = SAMPLES
    return int(min(most, max(fewest, WORK / max(1.0, runs * macs / 2))))


def _curve(
    walk: Walk,
    readers: list[Reader],
    score: NDArray[np.float64],
    limit: tuple[int, int],
    judge: _Judge,
) -> Curve:
    """Measure a group at widths spread over its limits."""
    graph = Graph(with_shifts(walk.graph.model, readers))
    fed = {name for reader in readers for name in (reader.consumer.layer.weight, reader.shift)}
    session = graph.session(graph.outputs, list(walk.checkpoint[0]), {}, fed)
    wanted = {value.name for value in session.get_inputs()} - fed
    width, lowest = len(score), limit[0]
    tried = spread_widths(lowest, width, WIDTHS + 1)[:-1]
    losses = []
    for narrow in tried:
        [kept] = keep_best([score], [narrow])
        tensors = {name: t for reader in readers for name, t in reader.tensors(kept).items()}
        outputs = [
            session.run(graph.outputs, {**{n: batch[n] for n in wanted}, **tensors})
            for batch in walk.checkpoint
        ]
        losses.append(judge.loss(outputs))
    return _filled(np.array([*tried, width]), np.array([*losses, 0.0]), width)


def _filled(tried: NDArray[np.int64], losses: NDArray[np.float64], width: int) -> Curve:
    """The loss at every width: its logarithm is interpolated, and next to the dense width itself.

    Args:
        tried: widths that were measured, and the dense one.
        losses: their losses.
        width: the dense width.
    """
    falling = np.maximum.accumulate(np.maximum(losses, 0.0)[::-1])[::-1]
    widths = np.arange(width + 1)
    straight = np.interp(widths, tried, falling)
    logarithms = np.log(np.maximum(falling, _LEAST * falling.max() + 1e-30))
    curved = np.exp(np.interp(widths, tried, logarithms))
    loss = np.where(widths < tried[:-1].max(initial=0), curved, straight)
    return Curve(loss, tuple(tried[:-1].tolist()))


@dataclass(frozen=True)
class _Judge:
    """Tells how far outputs are from those of the dense model.

    Attributes:
        outputs: outputs of the dense model, (samples, ...) each.
        labels: classes of the samples, or None.
    """

    outputs: list[Array]
    labels: NDArray[np.int64] | None

    @classmethod
    def of(cls, context: Context, graph: Graph, batches: list[Mapping[str, Array]]) -> _Judge:
        outputs = [np.concatenate([batch[name] for batch in batches]) for name in graph.outputs]
        labels = context.data.get(LABEL) if context.data is not None else None
        count = len(outputs[0])
        return cls(outputs, None if labels is None else np.asarray(labels)[:count].astype(int))

    def loss(self, batches: list[list[Array]]) -> float:
        found = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return sum(self._one(*pair) for pair in zip(self.outputs, found, strict=True))

    def _one(self, dense: Array, found: Array) -> float:
        if is_prediction(dense):
            return self._divergence(log_chances(dense), log_chances(found))
        spread = float(dense.var()) + 1e-12
        return float(((dense - found) ** 2).mean()) / spread

    def _divergence(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
        """Mean KL divergence, or increase of the cross-entropy where there are labels."""
        if self.labels is not None:
            rows = np.arange(len(self.labels))
            return float((before - after)[rows, self.labels].mean())
        return float((np.exp(before) * (before - after)).sum(axis=1).mean())
