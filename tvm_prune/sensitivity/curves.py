"""Sensitivity curves: loss of every group at a few widths, measured with recovery applied.

For each group by itself: the channels that go are filled in by linear prediction from those that
stay (the closed-form recovery of its readers), and the rest of the network is run on the dense
activations, which are computed once and kept as a checkpoint. Losses of several groups add up to
first order, as small independent disturbances do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations import Graph, Walk
from tvm_prune.channels import Limits, keep_best
from tvm_prune.importance import LABEL, Context, input_moments
from tvm_prune.importance.predictions import is_prediction, log_chances
from tvm_prune.model import Array
from tvm_prune.operations import multiply_accumulates
from tvm_prune.sensitivity.mixing import Mixer, with_mixers

WIDTHS = 8
"""Widths that each group is tried at, the dense one aside."""
SAMPLES = (16, 128)
"""Batches that the loss is told on: at least, and at most."""
WORK = 5e12
"""Multiply-accumulates that all curves may take, about; large networks get fewer batches."""
MOST_INPUTS = 8_192
"""Layers that read more channels are left out of the curves."""


@dataclass(frozen=True)
class Curve:
    """Loss of a group by width.

    Attributes:
        loss: how much the output moves at every width, shape (width + 1,); never rises with the
            width, and is zero at the dense one. In nats where the output is a row of logits,
            else as a share of the output's variance.
        widths: widths that were measured; between them the loss is interpolated.
    """

    loss: NDArray[np.float64]
    widths: tuple[int, ...]


def sensitivity_curves(
    context: Context,
    scores: Sequence[NDArray[np.float64]],
    limits: Limits,
    on_group: Callable[[int], None] = lambda _index: None,
) -> list[Curve | None]:
    """A curve for every group; None where no layer is known that reads the group's channels.

    Args:
        context: the model and its samples; with labels, the loss is the cross-entropy's increase.
        scores: importance of every unit; the best ones stay.
        limits: lowest and highest width of every group.
        on_group: told how many groups are done.

    Raises:
        PruneError: if there are no samples, or the model has no ONNX form.
    """
    moments = input_moments(context)
    graph = Graph(context.onnx)
    walk = Walk(graph, context.batches()[: _sample_count(context)])
    judge = _Judge.of(context, graph, list(walk.stream(graph.outputs, {})))
    curves: list[Curve | None] = [None] * len(scores)
    mixers = [_mixers(context, index, moments) for index in range(len(scores))]
    first = {
        index: min(graph.made_at[m.consumer.layer.node.output[0]] for m in own)
        for index, own in enumerate(mixers)
        if own
    }
    for done, index in enumerate(sorted(first, key=lambda index: first[index]), start=1):
        walk.advance(first[index], {})
        curves[index] = _curve(walk, mixers[index], scores[index], limits[index], judge)
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


def _mixers(context: Context, group: int, moments: Mapping[str, Any]) -> list[Mixer]:
    return [
        Mixer(consumer, moments[consumer.layer.data])
        for consumer in context.consumers[group]
        if consumer.extent <= MOST_INPUTS
    ]


def _curve(
    walk: Walk,
    mixers: list[Mixer],
    score: NDArray[np.float64],
    limit: tuple[int, int],
    judge: _Judge,
) -> Curve:
    """Measure a group at widths spread over its limits."""
    graph = Graph(with_mixers(walk.graph.model, mixers))
    fed = {name for mixer in mixers for name in (mixer.matrix, mixer.shift)}
    session = graph.session(graph.outputs, list(walk.checkpoint[0]), {}, fed)
    wanted = {value.name for value in session.get_inputs()} - fed
    width, lowest = len(score), limit[0]
    tried = np.unique(np.linspace(lowest, width, WIDTHS + 1).round().astype(int))[:-1].tolist()
    losses = []
    for narrow in tried:
        [kept] = keep_best([score], [narrow])
        tensors = {name: t for mixer in mixers for name, t in mixer.tensors(kept).items()}
        outputs = [
            session.run(graph.outputs, {**{n: batch[n] for n in wanted}, **tensors})
            for batch in walk.checkpoint
        ]
        losses.append(judge.loss(outputs))
    return _filled(np.array([*tried, width]), np.array([*losses, 0.0]), width)


def _filled(tried: NDArray[np.int64], losses: NDArray[np.float64], width: int) -> Curve:
    falling = np.maximum.accumulate(np.maximum(losses, 0.0)[::-1])[::-1]
    loss = np.interp(np.arange(width + 1), tried, falling)
    return Curve(loss, tuple(tried.tolist()))


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
