"""Norms of a masked module, as if its zeros were not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tvm_prune.torch.cuts import Cut

Tensor = Any


class KeptStatistics(TorchFunctionMode):  # type: ignore[misc]
    """While it is entered, norms with a masked weight compute statistics of kept channels only.

    Zeros stand for removed channels everywhere but in a norm, where they count.

    Args:
        cuts: the cuts of the masked tensors.
        masked: the masked tensors, as the module holds them.
    """

    def __init__(self, cuts: Sequence[Cut], masked: Sequence[Tensor]) -> None:
        super().__init__()
        self.cuts = {id(value): cut for cut, value in zip(cuts, masked, strict=True)}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called in place of every torch function."""
        kwargs = kwargs or {}
        norm = NORMS.get(function)
        if norm is not None:
            given = dict(zip(NAMES[function], args, strict=False)) | dict(kwargs)
            cut = self.cuts.get(id(given.get("weight")))
            if cut is not None:
                return norm(given, cut)
        return function(*args, **kwargs)


def _last_axes_norm(function: Any) -> Any:
    def compute(given: dict[str, Any], cut: Cut) -> Tensor:
        rank = given["input"].dim() - cut.tensor.dim()
        axes = {rank + axis: indices for axis, indices in cut.kept.items()}
        rest = {name: value for name, value in given.items() if name not in NAMED_AXES}
        for name in ("weight", "bias"):
            if rest.get(name) is not None:
                rest[name] = _taken(rest[name], cut.kept)
        result = function(_taken(given["input"], axes), list(cut.shape()), **rest)
        return _spread(result, given["input"], axes)

    return compute


def _group_norm(given: dict[str, Any], cut: Cut) -> Tensor:
    axes = {1: cut.kept[0]}
    groups = int(cut.mask(0).reshape(given["num_groups"], -1).any(axis=1).sum())
    bias = given.get("bias")
    result = functional.group_norm(
        _taken(given["input"], axes),
        groups,
        _taken(given["weight"], cut.kept),
        None if bias is None else _taken(bias, cut.kept),
        given.get("eps", 1e-5),
    )
    return _spread(result, given["input"], axes)


def _taken(tensor: Tensor, axes: Mapping[int, tuple[int, ...]]) -> Tensor:
    for axis, indices in axes.items():
        tensor = tensor.index_select(axis, torch.tensor(indices, device=tensor.device))
    return tensor


def _spread(kept: Tensor, like: Tensor, axes: Mapping[int, tuple[int, ...]]) -> Tensor:
    """Kept positions back in their dense places, zeros elsewhere."""
    for axis, indices in axes.items():
        shape = list(kept.shape)
        shape[axis] = like.shape[axis]
        dense = kept.new_zeros(shape)
        kept = dense.index_copy_(axis, torch.tensor(indices, device=kept.device), kept)
    return kept


NAMED_AXES = frozenset({"input", "normalized_shape"})

NAMES: Mapping[Any, Sequence[str]] = {
    functional.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    functional.rms_norm: ("input", "normalized_shape", "weight", "eps"),
    functional.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
}
"""Parameters of torch's norms, in order."""

NORMS: Mapping[Any, Any] = {
    functional.layer_norm: _last_axes_norm(functional.layer_norm),
    functional.rms_norm: _last_axes_norm(functional.rms_norm),
    functional.group_norm: _group_norm,
}
"""How each norm counts kept channels only."""
