"""Applies a pruning plan to the user's own ``torch.nn.Module``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_prune.errors import PlanError
from tvm_prune.plan import PruningPlan
from tvm_prune.torch.cuts import Cut, Place, find_cuts
from tvm_prune.torch.layers import PrunedLayer, check_tensors, rule_of
from tvm_prune.torch.statistics import KeptStatistics
from tvm_prune.torch.trial import compare, outputs_of


def prune_module(module: Any, plan: PruningPlan, *, example: Any = None) -> Any:
    """Remove the channels that a plan leaves out from a module, in place.

    Parameters and buffers are sliced; each stays on its device, with its dtype, its class and its
    ``requires_grad``. Gradients are dropped, and parameters are new objects: make optimizers
    afterwards. Attributes of torch's layers (``out_channels``, ``groups``, ``num_features``, ...)
    follow; a ``MultiheadAttention`` whose channels change becomes a :class:`PrunedAttention`.

    The kept weights are the module's own. What a run has recovered on top goes in afterwards::

        values = {name: torch.from_numpy(value) for name, value in result.model.parameters.items()}
        module.load_state_dict(values, strict=False)

    Code of the module's own may count on numbers of channels: ``view(b, 3, heads, 64)``,
    ``chunk(2)`` where the halves lose differently many, the default scale of
    ``scaled_dot_product_attention``. Give an `example`: then the pruned module is run on it and
    compared with the dense module whose removed slices are zero, and nothing is changed when they
    differ.

    Args:
        module: the module that the plan was made for with :func:`tvm_prune.load`.
        plan: what is kept, by the names in ``module.state_dict()``.
        example: arguments of ``forward``: a tensor, a tuple, or a mapping by name.

    Returns:
        The module itself.

    Raises:
        PlanError: if the plan does not fit the module, which is then left as it was.
    """
    cuts = find_cuts(module, plan, is_tried=example is not None)
    layers = _layers(cuts)
    edits = _replaced(cuts, [cut.pruned() for cut in cuts])
    for layer in layers:
        edits += _attributes(layer)
    expected = None if example is None else _masked_outputs(module, cuts, example)
    undo = _apply(edits)
    if expected is not None:
        try:
            compare(expected, outputs_of(module, example))
        except BaseException:
            _apply(undo)
            raise
    return module


def _masked_outputs(module: Any, cuts: Sequence[Cut], example: Any) -> list[Any]:
    """What the dense module computes without the channels that the plan removes."""
    masked = [cut.masked() for cut in cuts]
    undo = _apply(_replaced(cuts, masked))
    try:
        with KeptStatistics(cuts, masked):
            return outputs_of(module, example, is_pruned=False)
    finally:
        _apply(undo)


@dataclass(frozen=True)
class Edit:
    """A new value for an attribute of a submodule."""

    place: Place
    value: Any


_ABSENT = object()


def _replaced(cuts: Sequence[Cut], values: Sequence[Any]) -> list[Edit]:
    """Edits that put a value in place of each cut's tensor, everywhere the module keeps it."""
    return [
        Edit(place, value) for cut, value in zip(cuts, values, strict=True) for place in cut.places
    ]


def _apply(edits: Sequence[Edit]) -> list[Edit]:
    """Make the edits; returns those that undo them."""
    undo: list[Edit] = []
    try:
        for edit in edits:
            owner, attribute = edit.place.owner, edit.place.attribute
            undo.insert(0, Edit(edit.place, getattr(owner, attribute, _ABSENT)))
            if edit.value is _ABSENT:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, edit.value)
    except BaseException:
        _apply(undo[1:])  # the first one was never made
        raise
    return undo


def _layers(cuts: Sequence[Cut]) -> list[PrunedLayer]:
    """The submodules that lose something, each with the cuts of its own tensors."""
    found: dict[int, tuple[str, Any, dict[str, Cut]]] = {}
    for cut in cuts:
        for place in cut.places:
            entry = found.setdefault(id(place.owner), (place.path, place.owner, {}))
            entry[2][place.attribute] = cut
    return [PrunedLayer(path, owner, own) for path, owner, own in found.values()]


def _attributes(pruned: PrunedLayer) -> list[Edit]:
    """New values of a layer's attributes."""
    if type(pruned.layer).__name__ == "ParametrizationList":
        layer = pruned.path.rpartition(".parametrizations.")[0]
        raise PlanError(
            f"The plan prunes '{pruned.path}', from which a parametrization computes a weight; "
            f"remove it first (torch.nn.utils.parametrize.remove_parametrizations on '{layer}'), "
            "load the module again and make a new plan."
        )
    rule = rule_of(pruned.layer)
    if rule is None:
        return []
    check_tensors(pruned, rule)
    return [
        Edit(Place(pruned.path, pruned.layer, attribute), value)
        for attribute, value in rule.attributes(pruned).items()
    ]
