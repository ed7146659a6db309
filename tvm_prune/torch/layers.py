"""Which attributes of torch's layers follow from the shapes of their tensors: a row a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tvm_prune.errors import PlanError
from tvm_prune.torch.attention import attention
from tvm_prune.torch.cuts import Cut


@dataclass(frozen=True)
class PrunedLayer:
    """A layer and what a plan takes out of it.

    Attributes:
        path: name of the layer in the module.
        layer: the layer as it is.
        cuts: cuts of the layer's own tensors, by attribute; tensors that stay are not in it.
    """

    path: str
    layer: Any
    cuts: Mapping[str, Cut]

    def shape(self, attribute: str) -> tuple[int, ...] | None:
        """Shape that a tensor of the layer will have; None where the layer has no such tensor."""
        if attribute in self.cuts:
            return self.cuts[attribute].shape()
        tensor = getattr(self.layer, attribute, None)
        return None if tensor is None else tuple(tensor.shape)

    def expect(self, shape: tuple[int, ...], *attributes: str) -> None:
        """Check tensors whose shape follows from the others.

        Raises:
            PlanError: if one will have another shape.
        """
        for attribute in attributes:
            found = self.shape(attribute)
            if found is not None and found != shape:
                raise PlanError(
                    f"The plan leaves '{self.path}.{attribute}' the shape {found}, but the other "
                    f"tensors of this {type(self.layer).__name__} need {shape}."
                )

    def parts(self, attribute: str, axis: int, parts: int) -> int:
        """How many of equal parts of an axis are left; each keeps as many positions.

        Raises:
            PlanError: if the parts that are left keep different numbers of positions.
        """
        if attribute not in self.cuts or parts == 1:
            return parts
        counts = self.cuts[attribute].mask(axis).reshape(parts, -1).sum(axis=1)
        left = counts[counts > 0]
        if (left != left[0]).any():
            raise PlanError(
                f"The plan keeps {min(left)} to {max(left)} channels in the groups of "
                f"'{self.path}'; every group must keep equally many."
            )
        return int(left.size)


Attributes = Mapping[str, Any]


def _linear(pruned: PrunedLayer) -> Attributes:
    outputs, inputs = pruned.shape("weight") or ()
    pruned.expect((outputs,), "bias")
    return {"out_features": outputs, "in_features": inputs}


def _bilinear(pruned: PrunedLayer) -> Attributes:
    outputs, left, right = pruned.shape("weight") or ()
    pruned.expect((outputs,), "bias")
    return {"out_features": outputs, "in1_features": left, "in2_features": right}


def _convolution(pruned: PrunedLayer) -> Attributes:
    outputs, inputs, *_ = pruned.shape("weight") or ()
    pruned.expect((outputs,), "bias")
    groups = pruned.parts("weight", 0, pruned.layer.groups)
    return {"out_channels": outputs, "in_channels": inputs * groups, "groups": groups}


def _transposed_convolution(pruned: PrunedLayer) -> Attributes:
    inputs, outputs, *_ = pruned.shape("weight") or ()
    groups = pruned.parts("weight", 0, pruned.layer.groups)
    pruned.expect((outputs * groups,), "bias")
    return {"in_channels": inputs, "out_channels": outputs * groups, "groups": groups}


def _batch_norm(pruned: PrunedLayer) -> Attributes:
    shape = next(
        found for name in ("weight", "running_mean", "bias") if (found := pruned.shape(name))
    )
    pruned.expect(shape, "weight", "bias", "running_mean", "running_var")
    return {"num_features": shape[0]}


def _last_axes_norm(pruned: PrunedLayer) -> Attributes:
    shape = pruned.shape("weight") or ()
    pruned.expect(shape, "bias")
    return {"normalized_shape": shape}


def _group_norm(pruned: PrunedLayer) -> Attributes:
    shape = pruned.shape("weight") or ()
    pruned.expect(shape, "bias")
    groups = pruned.parts("weight", 0, pruned.layer.num_groups)
    return {"num_channels": shape[0], "num_groups": groups}


def _embedding(pruned: PrunedLayer) -> Attributes:
    rows, width = pruned.shape("weight") or ()
    return {"num_embeddings": rows, "embedding_dim": width}


def _prelu(pruned: PrunedLayer) -> Attributes:
    return {"num_parameters": (pruned.shape("weight") or ())[0]}


def _recurrent(pruned: PrunedLayer) -> Attributes:
    raise PlanError(
        f"The plan prunes '{pruned.path}', a {type(pruned.layer).__name__}; recurrent layers "
        "cannot be pruned."
    )


@dataclass(frozen=True)
class LayerRule:
    """How a layer follows its tensors.

    Attributes:
        types: classes of ``torch.nn``; their subclasses count as well.
        tensors: the tensors that such a layer has.
        attributes: new values of its attributes.
    """

    types: tuple[Any, ...]
    tensors: frozenset[str]
    attributes: Callable[[PrunedLayer], Attributes]


AFFINE = frozenset({"weight", "bias"})
STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
PROJECTIONS = frozenset(
    "in_proj_weight in_proj_bias q_proj_weight k_proj_weight v_proj_weight bias_k bias_v".split()
)
nn = torch.nn

LAYERS: tuple[LayerRule, ...] = (
    LayerRule((nn.Linear,), AFFINE, _linear),
    LayerRule((nn.Bilinear,), AFFINE, _bilinear),
    LayerRule(
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        AFFINE,
        _transposed_convolution,
    ),
    LayerRule((nn.Conv1d, nn.Conv2d, nn.Conv3d), AFFINE, _convolution),
    LayerRule((nn.modules.batchnorm._NormBase,), AFFINE | STATISTICS, _batch_norm),
    LayerRule((nn.LayerNorm, nn.RMSNorm), AFFINE, _last_axes_norm),
    LayerRule((nn.GroupNorm,), AFFINE, _group_norm),
    LayerRule((nn.Embedding, nn.EmbeddingBag), AFFINE, _embedding),
    LayerRule((nn.PReLU,), AFFINE, _prelu),
    LayerRule((nn.MultiheadAttention,), PROJECTIONS, attention),
    LayerRule((nn.RNNBase, nn.RNNCellBase), frozenset(), _recurrent),
)
"""One row a kind of layer; tensors of other modules are cut without further ado."""


def rule_of(layer: Any) -> LayerRule | None:
    """The row of a layer, if it is one of torch's."""
    return next((rule for rule in LAYERS if isinstance(layer, rule.types)), None)


def check_tensors(pruned: PrunedLayer, rule: LayerRule) -> None:
    """Refuse layers whose weight is computed from other tensors.

    Raises:
        PlanError: if the layer holds tensors that its kind does not have.
    """
    strange = sorted(set(pruned.cuts) - rule.tensors)
    if strange and rule.tensors:
        raise PlanError(
            f"The plan prunes '{pruned.path}.{strange[0]}', from which this "
            f"{type(pruned.layer).__name__} computes its weight; remove the weight norm first "
            "(torch.nn.utils.remove_weight_norm), load the module again and make a new plan."
        )
