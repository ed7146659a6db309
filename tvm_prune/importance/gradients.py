"""Gradients of single samples, through PyTorch.

The loss is the cross-entropy of the classes that come with the samples. Without classes, they are
drawn from the model's own predictions, so that squared gradients average to the Fisher
information (Martens, "New Insights and Perspectives on the Natural Gradient Method", 2020). What
is not a row of logits is taken for the mean of a normal distribution, likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import PruneError
from tvm_prune.importance.context import LABEL, Context
from tvm_prune.model import Array

SAMPLES = 512
"""Batches that gradients are computed for, at most."""


def gradients(context: Context) -> Iterator[Mapping[str, Array]]:
    """Gradient of the loss of every batch by parameter name, one batch after the other.

    Raises:
        PruneError: if there are no samples, PyTorch is not installed, or an op has no row.
    """
    batches = context.batches()[:SAMPLES]
    torch, network = _network(context)
    names = [name for name, value in context.parameters.items() if value.dtype.kind == "f"]
    generator = torch.Generator().manual_seed(context.seed)
    labels = _labels(context, batches)
    for index, batch in enumerate(batches):
        for name in names:
            network.parameters[name].grad = None
        outputs = network({name: torch.from_numpy(value) for name, value in batch.items()})
        loss = sum(
            _loss(torch, output, None if labels is None else labels[index], generator)
            for output in outputs
        )
        loss.backward()
        found = {name: network.parameters[name].grad for name in names}
        yield {name: grad.numpy() for name, grad in found.items() if grad is not None}


def _network(context: Context) -> tuple[Any, Any]:
    try:
        import torch

        from tvm_prune.importance.torch_graph import TorchGraph
    except ImportError as error:
        raise PruneError(
            "This importance criterion needs gradients, which PyTorch computes; install it "
            "(pip install 'tvm-prune[torch]'), or choose another: reconstruction, l2."
        ) from error
    return torch, TorchGraph(context.onnx)


def _labels(context: Context, batches: list[dict[str, Array]]) -> list[NDArray[np.int64]] | None:
    if context.data is None or LABEL not in context.data:
        return None
    size = len(next(iter(batches[0].values())))
    labels = np.asarray(context.data[LABEL]).astype(np.int64)
    return [labels[index * size : (index + 1) * size] for index in range(len(batches))]


def _loss(torch: Any, output: Any, labels: NDArray[np.int64] | None, generator: Any) -> Any:
    """Loss whose gradient an output gets."""
    is_logits = output.dim() == 2 and output.shape[1] > 1
    if not is_logits:
        noise = torch.randn(output.shape, generator=generator)
        return (output * noise).sum()
    if labels is None:
        chances = torch.softmax(output.detach(), dim=1)
        drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
    else:
        drawn = torch.from_numpy(labels)
    return torch.nn.functional.cross_entropy(output, drawn, reduction="sum")
