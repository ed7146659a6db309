"""Axes on their way through a function: how a reshape maps them, and what becomes of its parts.

Which part of an axis carries its channels decides what can be pruned: heads or the dimensions in
each head, channels or the pixels that a pixel shuffle takes out of them. Any choice is exact; a
role only tells the useful one, so where an axis is lost out of sight the search for it just stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tvm import relax

from tvm_prune.channels.ops.contraction import terms

FURTHEST = 24
"""How many ops away a role is looked for."""

Users = Mapping[Any, Sequence[Any]]
"""The bindings that use each variable."""


@dataclass(frozen=True)
class Role:
    """What is done with one part of an axis.

    Attributes:
        head: it counts independent products of activations, as the heads of an attention layer do.
        positional: its positions differ in meaning: single ones are taken, or the part becomes
            part of an axis that comes from elsewhere, as pixels do.
    """

    head: bool = False
    positional: bool = False


def shape_of(expr: Any) -> list[int]:
    """Static shape of a tensor, or of the first field of a tuple."""
    ty = expr.ty.fields[0] if isinstance(expr.ty, relax.TupleType) else expr.ty
    return [int(extent) for extent in ty.shape.values]


def matching_runs(
    before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Smallest runs of axes with equal products; axes of extent 1 belong to none."""
    old = [axis for axis, extent in enumerate(before) if extent != 1]
    new = [axis for axis, extent in enumerate(after) if extent != 1]
    while old or new:
        old_run, new_run = [old.pop(0)], [new.pop(0)]
        old_size, new_size = before[old_run[0]], after[new_run[0]]
        while old_size != new_size:
            if old_size < new_size:
                old_run.append(old.pop(0))
                old_size *= before[old_run[-1]]
            else:
                new_run.append(new.pop(0))
                new_size *= after[new_run[-1]]
        yield old_run, new_run


def users_of(function: Any) -> dict[Any, list[Any]]:
    """The bindings of a function by the variables they use, directly or in a tuple."""
    users: dict[Any, list[Any]] = {}
    for block in function.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call):
                for variable in _variables(value.args):
                    users.setdefault(variable, []).append(binding)
            elif isinstance(value, relax.TupleGetItem):
                users.setdefault(value.tuple_value, []).append(binding)
            elif isinstance(value, relax.Var):
                users.setdefault(value, []).append(binding)
    return users


def _variables(arguments: Sequence[Any]) -> Iterator[Any]:
    for argument in arguments:
        if isinstance(argument, relax.Var):
            yield argument
        elif isinstance(argument, relax.Tuple):
            yield from _variables(argument.fields)


def roles_of(variable: Any, parts: Sequence[int], users: Users) -> list[Role]:
    """The role of each of some axes of a tensor, which all come out of one axis."""
    heads, positional = set[int](), set[int]()
    where: list[tuple[Any, dict[int, int]]] = [(variable, {axis: axis for axis in parts})]
    seen = {variable}
    for _ in range(FURTHEST):
        following = []
        for tensor, part_at in where:
            for binding in users.get(tensor, ()):
                step = _Step(binding, tensor, part_at)
                heads |= step.heads()
                positional |= step.positional()
                moved = step.moved()
                if moved and binding.var not in seen:
                    seen.add(binding.var)
                    following.append((binding.var, moved))
        where = following
    return [Role(axis in heads, axis in positional) for axis in parts]


@dataclass(frozen=True)
class _Step:
    """One op that takes a tensor whose axes at `part_at` are parts."""

    binding: Any
    tensor: Any
    part_at: Mapping[int, int]

    @property
    def op(self) -> str:
        """Name of the op, empty for a field of a tuple or another name of a variable."""
        operator = getattr(self.binding.value, "op", None)
        return getattr(operator, "name", "").removeprefix("relax.")

    def heads(self) -> set[int]:
        """Parts that are batch axes of a product of two tensors."""
        call = self.binding.value
        if self.op == "matmul" and all(len(shape_of(factor)) > 2 for factor in call.args):
            batch: Sequence[int] = range(len(self._before) - 2)
        elif self.op == "einsum":
            batch = self._einsum_batch()
        elif self.op.startswith("nn.attention"):
            batch = range(2, 3)
        else:
            return set()
        return {part for axis, part in self.part_at.items() if axis in batch}

    def _einsum_batch(self) -> Sequence[int]:
        fields = list(self.binding.value.args[0].fields)
        ranks = [len(shape_of(field)) for field in fields]
        operands, result = terms(str(self.binding.value.attrs.subscripts), ranks)
        own = operands[next(i for i, field in enumerate(fields) if field.same_as(self.tensor))]
        shared = {name for name in result if sum(name in operand for operand in operands) > 1}
        return [axis for axis, name in enumerate(own) if name in shared]

    def positional(self) -> set[int]:
        """Parts that are cut by position, or merged with an axis that is none of them."""
        if self.op == "reshape":
            axes = [axis for old, new in self._runs if self._swallows(old, new) for axis in old]
        else:
            axes = [axis % len(self._before) for axis in self._cut_axes()]
        return {self.part_at[axis] for axis in axes if axis in self.part_at}

    def _cut_axes(self) -> list[int]:
        """Axes that the op takes single positions or sections from."""
        call = self.binding.value
        if self.op == "strided_slice":
            return [int(axis) for axis in call.args[1]]
        if self.op in ("take", "split"):
            return [int(call.attrs.axis or 0)]
        return []

    def _swallows(self, old: list[int], new: list[int]) -> bool:
        """Whether a reshape makes one axis of parts and others."""
        parts = [axis for axis in old if axis in self.part_at]
        return len(new) == 1 and 0 < len(parts) < len(old)

    def moved(self) -> dict[int, int]:
        """The parts that are still axes of the result, by axis."""
        if self.op in ("matmul", "einsum") or self.op.startswith(("nn.conv", "nn.attention")):
            return {}
        if isinstance(self.binding.var.ty, relax.ShapeType):
            return {}
        targets = {self._target(axis): part for axis, part in self.part_at.items()}
        return {axis: part for axis, part in targets.items() if axis is not None}

    def _target(self, axis: int) -> int | None:
        call, before, after = self.binding.value, self._before, self._after
        if self.op == "reshape":
            found = [
                new[0]
                for old, new in self._runs
                if (old == [axis] and len(new) == 1) or (axis in old and self._swallows(old, new))
            ]
            return found[0] if found else None
        if self.op == "permute_dims":
            axes = call.attrs.axes
            order = range(len(before))[::-1] if axes is None else [int(entry) for entry in axes]
            return list(order).index(axis)
        if self.op == "expand_dims":
            added = {int(entry) % len(after) for entry in call.attrs.axis}
            return [entry for entry in range(len(after)) if entry not in added][axis]
        if self.op == "squeeze":
            kept = [entry for entry, extent in enumerate(before) if extent != 1]
            if call.attrs.axis is not None:
                gone = {int(entry) % len(before) for entry in call.attrs.axis}
                kept = [entry for entry in range(len(before)) if entry not in gone]
            return kept.index(axis) if axis in kept else None
        aligned = axis + len(after) - len(before)  # the others line axes up from the right
        return aligned if aligned >= 0 and after[aligned] == before[axis] else None

    @cached_property
    def _before(self) -> list[int]:
        return shape_of(self.tensor)

    @cached_property
    def _after(self) -> list[int]:
        return shape_of(self.binding.var)

    @cached_property
    def _runs(self) -> list[tuple[list[int], list[int]]]:
        return list(matching_runs(self._before, self._after))
