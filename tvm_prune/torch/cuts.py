"""Finds the tensors of a module that a plan prunes, and checks that the plan fits them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tvm_prune.errors import PlanError
from tvm_prune.plan import PruningPlan

AxisPlan = Mapping[int, tuple[int, ...]]

LOAD_THE_MODULE = "make the plan from the module itself: tvm_prune.load(module, example=...)"


@dataclass(frozen=True)
class Place:
    """Where a module keeps a tensor.

    Attributes:
        path: name of the submodule, empty for the module itself.
        owner: the submodule.
        attribute: name of the tensor in it.
    """

    path: str
    owner: Any
    attribute: str

    @property
    def name(self) -> str:
        """Name of the tensor in the module's state dict."""
        return f"{self.path}.{self.attribute}" if self.path else self.attribute


@dataclass(frozen=True)
class Cut:
    """What is kept of one tensor.

    Attributes:
        tensor: the dense parameter or buffer.
        places: everywhere the module keeps it, more than one where it is shared.
        kept: indices that stay along each pruned axis.
    """

    tensor: Any
    places: tuple[Place, ...]
    kept: AxisPlan

    def mask(self, axis: int) -> NDArray[np.bool_]:
        """Which positions of an axis stay, shape (extent,)."""
        mask = np.zeros(self.tensor.shape[axis], dtype=bool)
        mask[list(self.kept.get(axis, range(mask.size)))] = True
        return mask

    def shape(self) -> tuple[int, ...]:
        """Shape of what is left."""
        return tuple(int(self.mask(axis).sum()) for axis in range(self.tensor.ndim))

    def pruned(self) -> Any:
        """What is left, as the same kind of tensor, without the old gradient."""
        value = self.tensor.detach()
        for axis, indices in self.kept.items():
            value = value.index_select(axis, torch.tensor(indices, device=value.device))
        return self._like_the_tensor(value)

    def masked(self) -> Any:
        """The dense tensor with zeros in the removed slices."""
        value = self.tensor.detach().clone()
        for axis in self.kept:
            gone = torch.from_numpy(np.flatnonzero(~self.mask(axis))).to(value.device)
            value.index_fill_(axis, gone, 0)
        return self._like_the_tensor(value)

    def _like_the_tensor(self, value: Any) -> Any:
        kind, needs_gradient = type(self.tensor), self.tensor.requires_grad
        result = torch.Tensor._make_subclass(kind, value, needs_gradient)
        result.__dict__.update(self.tensor.__dict__)  # marks that training code leaves there
        return result


def find_cuts(module: Any, plan: PruningPlan, is_tried: bool) -> list[Cut]:
    """The tensors of a module that a plan prunes.

    Args:
        module: a ``torch.nn.Module``.
        plan: the plan, whose parameters have the module's names.
        is_tried: whether the pruned module will be run, which shows what names alone cannot.

    Raises:
        PlanError: if the plan names what the module does not have, has other shapes, or prunes a
            shared tensor differently for its uses.
    """
    places = list(_places(module))
    by_name = {place.name: place for place in places}
    shared: dict[int, list[Place]] = {}
    for place in places:
        shared.setdefault(id(getattr(place.owner, place.attribute)), []).append(place)
    wanted: dict[int, dict[str, AxisPlan]] = {}
    for name, axes in plan.kept.items():
        place = _find(module, by_name, name)
        tensor = getattr(place.owner, place.attribute)
        _check(name, axes, plan.shapes.get(name), tensor)
        shared.setdefault(id(tensor), [place])
        wanted.setdefault(id(tensor), {})[name] = axes
    cuts = []
    for key, uses in wanted.items():
        tensor = getattr(shared[key][0].owner, shared[key][0].attribute)
        cuts.append(Cut(tensor, tuple(shared[key]), _agreed(uses, shared[key], is_tried)))
    return cuts


def _places(module: Any) -> Iterator[Place]:
    for path, owner in module.named_modules(remove_duplicate=False):
        for attribute, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None:
                yield Place(path, owner, attribute)


def _find(module: Any, by_name: Mapping[str, Place], name: str) -> Place:
    """Where the module keeps what the plan names; ``name#2`` is the second use of a tensor."""
    base = name.partition("#")[0]
    place = by_name.get(name) or by_name.get(base) or _plain_tensor(module, base)
    if place is None:
        raise PlanError(_unknown(name, by_name))
    return place


def _plain_tensor(module: Any, name: str) -> Place | None:
    """A tensor that is an ordinary attribute of a submodule."""
    path, _, attribute = name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        return None
    return Place(path, owner, attribute) if torch.is_tensor(vars(owner).get(attribute)) else None


def _unknown(name: str, known: Mapping[str, Place]) -> str:
    if "lifted_tensor" in name:
        return (
            f"The plan prunes '{name}', a tensor that forward makes anew each time; register it "
            "as a buffer, load the module again and make a new plan."
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"the nearest name is '{near[0]}'" if near else "it has no name like it"
    return (
        f"The plan names parameter '{name}', which the module does not have ({hint}); "
        f"{LOAD_THE_MODULE}."
    )


def _check(name: str, axes: AxisPlan, planned: tuple[int, ...] | None, tensor: Any) -> None:
    shape = tuple(tensor.shape)
    if planned is not None and tuple(planned) != shape:
        if tuple(reversed(planned)) == shape or sorted(planned) == sorted(shape):
            raise PlanError(
                f"The plan was made for '{name}' of shape {tuple(planned)}, but the module's is "
                f"{shape}: the exporter transposed it; {LOAD_THE_MODULE}."
            )
        raise PlanError(
            f"The plan was made for '{name}' of shape {tuple(planned)}, but the module's is "
            f"{shape}. Was it pruned already?"
        )
    for axis, indices in axes.items():
        if not 0 <= axis < len(shape):
            raise PlanError(f"The plan names axis {axis} of '{name}', which has {len(shape)} axes.")
        allowed = range(shape[axis])
        if not indices or len(set(indices)) < len(indices) or not set(indices) <= set(allowed):
            raise PlanError(
                f"The plan must keep between 1 and {shape[axis]} distinct indices of axis {axis} "
                f"of '{name}', each in 0..{shape[axis] - 1}."
            )


def _agreed(uses: Mapping[str, AxisPlan], places: list[Place], is_tried: bool) -> AxisPlan:
    """The one plan for a tensor, whatever number of uses it has."""
    first, axes = next(iter(uses.items()))
    different = next((name for name, other in uses.items() if other != axes), None)
    untouched = next(
        (name.partition("#")[0] for name in uses if name.partition("#")[0] not in uses), None
    )
    if different or untouched:
        raise PlanError(
            f"The plan prunes '{first}' and '{different or untouched}' differently, but they are "
            "one tensor of the module; load it with keep_tied=True and make a new plan."
        )
    if len(places) > len(uses) and len({place.name for place in places}) > 1 and not is_tried:
        other = next(place.name for place in places if place.name not in uses)
        raise PlanError(
            f"'{first}' and '{other}' are one tensor of the module, but the plan names only the "
            "first; give example= inputs, on which the pruned module is tried."
        )
    return axes
