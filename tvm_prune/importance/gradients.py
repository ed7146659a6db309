"""Gradients of single samples, through PyTorch or Relax's own pass, whichever covers the model.

The loss is the cross-entropy of the classes that come with the samples. Without classes, they are
drawn from the model's own predictions, so that squared gradients average to the Fisher
information (Martens, "New Insights and Perspectives on the Natural Gradient Method", 2020). What
is not a row of logits is taken for the mean of a normal distribution, likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations import Graph, Walk
from tvm_prune.errors import PruneError
from tvm_prune.importance.context import LABEL, Context
from tvm_prune.importance.predictions import are_chances, is_prediction, log_chances
from tvm_prune.model import Array

SAMPLES = 512
"""Batches that gradients are computed for, at most."""

Differentiate = Callable[[Mapping[str, Array], list[Array]], dict[str, Array]]
"""Gradients by parameter name of the outputs' sum, weighted by seeds, for one batch."""


def gradients(context: Context) -> Iterator[Mapping[str, Array]]:
    """Gradient of the loss of every batch by parameter name, one batch after the other.

    Raises:
        PruneError: if there are no samples, or neither PyTorch nor Relax covers the model.
    """
    batches = context.batches()[:SAMPLES]
    differentiate = _backend(context)
    generator = np.random.default_rng(context.seed)
    graph = Graph(context.onnx)
    outputs = Walk(graph, batches).stream(graph.outputs, {})
    for index, (batch, found) in enumerate(zip(batches, outputs, strict=True)):
        seeds = [
            _seed(found[name], _labels(context, index, len(found[name])), generator)
            for name in graph.outputs
        ]
        yield differentiate(batch, seeds)


def _backend(context: Context) -> Differentiate:
    names = [name for name, value in context.parameters.items() if value.dtype.kind == "f"]
    try:
        from tvm_prune.importance.torch_graph import TorchGraph

        return TorchGraph(context.onnx, names).gradients
    except ImportError:
        reason = "PyTorch is not installed (pip install 'tvm-prune[torch]')."
    except PruneError as error:
        reason = str(error)
    from tvm_prune.importance.relax_gradients import RelaxGradients

    try:
        return RelaxGradients(context.required_model, names)
    except PruneError as error:
        raise PruneError(
            f"This importance criterion needs gradients, but there are none: {reason} {error} "
            "Choose one without gradients: reconstruction, l2."
        ) from error


def _labels(context: Context, index: int, size: int) -> NDArray[np.int64] | None:
    if context.data is None or LABEL not in context.data:
        return None
    labels = np.asarray(context.data[LABEL]).astype(np.int64)
    return labels[index * size : (index + 1) * size]


def _seed(output: Array, labels: NDArray[np.int64] | None, generator: np.random.Generator) -> Array:
    """Gradient of the loss with respect to an output."""
    if not is_prediction(output):
        return np.asarray(generator.standard_normal(output.shape), dtype=output.dtype)
    chances = np.exp(log_chances(output))
    if labels is None:
        labels = np.array([generator.choice(len(row), p=row / row.sum()) for row in chances])
    rows = np.arange(len(chances))
    if are_chances(output):
        slope = np.zeros_like(chances)
        slope[rows, labels] = -1.0 / chances[rows, labels]
        return slope.astype(output.dtype)
    chances[rows, labels] -= 1.0
    return chances.astype(output.dtype)
