"""Attention whose heads are narrower than torch's own layer allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tvm_prune.errors import PlanError

if TYPE_CHECKING:
    from tvm_prune.torch.layers import PrunedLayer

Tensor = Any


class PrunedAttention(torch.nn.MultiheadAttention):  # type: ignore[misc]
    """``torch.nn.MultiheadAttention`` after pruning: same tensors, same call, narrower heads.

    Torch's layer needs its heads to be ``embed_dim`` wide together and takes its scale from their
    width. Here both are free. :func:`tvm_prune.torch.prune_module` turns layers into this class.

    Attributes:
        head_dim: width of a head's queries and keys.
        value_dim: width of a head's values.
        scale: what scores are multiplied with: that of the dense layer.
    """

    value_dim: int
    scale: float

    def forward(  # noqa: D102 (torch documents it)
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        tensors = [query, key, value]
        has_batch = query.dim() == 3
        if not has_batch:
            tensors = [tensor.unsqueeze(0) for tensor in tensors]
        elif not self.batch_first:
            tensors = [tensor.transpose(0, 1) for tensor in tensors]
        queries, keys, values = map(self._heads, self._projected(tensors))
        mask = self._mask(attn_mask, key_padding_mask, queries, keys)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = queries @ keys.transpose(-2, -1) * self.scale
            weights = functional.softmax(scores if mask is None else scores + mask, dim=-1)
            mixed = functional.dropout(weights, dropout) @ values
        else:
            mixed = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, dropout_p=dropout, scale=self.scale
            )
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not has_batch:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _projected(self, tensors: list[Tensor]) -> list[Tensor]:
        width, value_width = self.num_heads * self.head_dim, self.num_heads * self.value_dim
        sizes = [width, width, value_width]
        if self.in_proj_weight is not None:
            matrices = self.in_proj_weight.split(sizes)
        else:
            matrices = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.split(sizes)
        return [
            functional.linear(tensor, matrix, bias)
            for tensor, matrix, bias in zip(tensors, matrices, biases, strict=True)
        ]

    def _heads(self, tensor: Tensor) -> Tensor:
        """(batch, length, channels) to (batch, heads, length, width)."""
        return tensor.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _mask(
        self, attention: Tensor | None, padding: Tensor | None, query: Tensor, key: Tensor
    ) -> Tensor | None:
        """Both masks as one that is added to the scores."""
        total = None
        if attention is not None:
            total = _added(attention, query)
            if total.dim() == 3:
                total = total.view(-1, self.num_heads, *total.shape[-2:])
        if padding is not None:
            added = _added(padding, query).view(-1, 1, 1, key.shape[-2])
            total = added if total is None else total + added
        return total


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def attention(pruned: PrunedLayer) -> Mapping[str, Any]:
    """New attributes of a ``MultiheadAttention``: another class, where its heads get narrower.

    Raises:
        PlanError: if the heads that are left are not equally wide, or there are learned key and
            value biases.
    """
    layer = pruned.layer
    if type(layer) not in (torch.nn.MultiheadAttention, PrunedAttention):
        raise PlanError(
            f"The plan prunes '{pruned.path}', a {type(layer).__name__} of your own; only torch's "
            "MultiheadAttention itself can be pruned. Keep its channels."
        )
    if layer.bias_k is not None or layer.add_zero_attn:
        raise PlanError(
            f"'{pruned.path}' adds keys and values of its own (add_bias_kv, add_zero_attn), which "
            "cannot be pruned; keep its channels."
        )
    masks = _head_masks(pruned)
    heads = {int(mask.any(axis=1).sum()) for mask in masks}
    widths = [_width(pruned.path, mask) for mask in masks]
    if len(heads) > 1 or widths[0] != widths[1]:
        raise PlanError(
            f"The plan leaves queries, keys and values of '{pruned.path}' different heads."
        )
    count = heads.pop()
    packed = pruned.shape("in_proj_weight")
    inputs = packed or pruned.shape("q_proj_weight") or ()
    pruned.expect((count * (2 * widths[0] + widths[2]),), "in_proj_bias")
    sizes = {"embed_dim": inputs[1], "num_heads": count, "head_dim": widths[0]}
    if packed:
        sizes |= {"kdim": inputs[1], "vdim": inputs[1]}
    else:
        sizes |= {
            "kdim": (pruned.shape("k_proj_weight") or ())[1],
            "vdim": (pruned.shape("v_proj_weight") or ())[1],
        }
    return {
        **sizes,
        "value_dim": widths[2],
        "scale": getattr(layer, "scale", layer.head_dim**-0.5),
        "_qkv_same_embed_dim": False,  # keeps torch's fused path for dense layers away
        "__class__": PrunedAttention,
    }


def _head_masks(pruned: PrunedLayer) -> list[NDArray[np.bool_]]:
    """What is kept of the rows of queries, keys and values, each of shape (heads, width)."""
    layer = pruned.layer
    heads, width = layer.num_heads, layer.head_dim
    value_width = getattr(layer, "value_dim", width)
    sizes = [heads * width, heads * width, heads * value_width]
    if layer.in_proj_weight is not None:
        cut = pruned.cuts.get("in_proj_weight")
        whole = np.ones(sum(sizes), dtype=bool) if cut is None else cut.mask(0)
        rows = np.split(whole, np.cumsum(sizes)[:-1])
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        rows = [
            pruned.cuts[name].mask(0) if name in pruned.cuts else np.ones(size, dtype=bool)
            for name, size in zip(names, sizes, strict=True)
        ]
    return [part.reshape(heads, -1) for part in rows]


def _width(path: str, mask: NDArray[np.bool_]) -> int:
    counts = mask.sum(axis=1)
    left = counts[counts > 0]
    if not left.size or (left != left[0]).any():
        raise PlanError(
            f"The plan keeps {min(left, default=0)} to {max(left, default=0)} dimensions in the "
            f"heads of '{path}'; every head must keep equally many."
        )
    return int(left[0])
