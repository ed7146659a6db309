"""Whole blocks: what one operand of an addition needs for itself can go, the other one stays.

Residual networks keep working without single blocks (Veit et al., "Residual Networks Behave Like
Ensembles of Relatively Shallow Networks", 2016). A block is found by what the graph shows, not by
names: everything that is computed for one operand of an addition of two tensors of one shape,
and for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.channels.labelling import input_count
from tvm_prune.errors import PlanError
from tvm_prune.model import Model
from tvm_prune.transform.bindings import find_readers, op_name, values_of, variables_in


@dataclass(frozen=True)
class Block:
    """A block that can be dropped.

    Attributes:
        name: what the names of its parameters have in common.
        parameters: its parameters.
        join: name of the variable that holds the sum.
        operand: which operand of the addition goes, 0 or 1.
    """

    name: str
    parameters: tuple[str, ...]
    join: str
    operand: int


def find_blocks(model: Model) -> list[Block]:
    """Blocks of a model, in program order."""
    function = model.module["main"]
    values, readers = values_of(function), find_readers(function)
    parameters = set(function.params[input_count(function) :])
    found = []
    for variable, value in values.items():
        if not _is_sum(value):
            continue
        for operand in (0, 1):
            own = _own(value.args[operand], variable, values, readers)
            names = [p.name for p in function.params if p in own & parameters]
            if names:
                found.append(Block(_common(names), tuple(names), variable.name, operand))
    return found


def drop_block(model: Model, block: Block) -> Model:
    """A model without a block; its parameters go with it.

    Raises:
        PlanError: if the model does not have the block.
    """
    function = model.module["main"]
    computed = values_of(function).items()
    joins = [value for var, value in computed if var.name == block.join and _is_sum(value)]
    if len(joins) != 1 or not set(block.parameters) <= set(model.parameters):
        raise PlanError(f"The model '{model.name}' has no block '{block.name}' that can go.")
    module = model.module.clone()
    module["main"] = _Dropper(module, joins[0], 1 - block.operand).visit_expr(function)
    passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
    module = tvm.transform.Sequential(passes)(module)
    left = module["main"]
    used = {v for value in values_of(left).values() for v in variables_in(value)}
    inputs = input_count(left)
    params = [p for i, p in enumerate(left.params) if i < inputs or p in used]
    module["main"] = relax.Function(params, left.body, left.ret_ty, attrs=left.attrs)
    names = {parameter.name for parameter in params[inputs:]}
    values = {name: value for name, value in model.parameters.items() if name in names}
    return replace(model, module=module, parameters=values)


def _own(
    start: Any, join: Any, values: Mapping[Any, Any], readers: Mapping[Any, list[Any]]
) -> set[Any]:
    """Variables, parameters among them, that are computed or read for one operand alone."""
    own: set[Any] = set()
    waiting = [start]
    while waiting:
        variable = waiting.pop()
        by_others = set(readers.get(variable, ())) - own
        if variable in own or by_others - ({join} if variable.same_as(start) else set()):
            continue
        own.add(variable)
        waiting += variables_in(values[variable]) if variable in values else []
        # A variable that several of the block's own read is reached again from the last of them.
    return own


def _is_sum(value: Any) -> bool:
    """Whether two tensors of one shape, none of them a parameter, are added."""
    if op_name(value) != "relax.add":
        return False
    left, right = value.args
    if not (isinstance(left, relax.Var) and isinstance(right, relax.Var)) or left.same_as(right):
        return False
    shapes = [[int(extent) for extent in part.ty.shape.values] for part in (left, right)]
    return shapes[0] == shapes[1] and len(shapes[0]) > 1


def _common(names: list[str]) -> str:
    """The layers that names of parameters have in common, or else the first name."""
    parts = [name.split(".") for name in names]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared) or names[0]


@mutator
class _Dropper(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: Any, join: Any, stays: int) -> None:
        super().__init__(module)
        self.join = join
        self.stays = stays

    def visit_call_(self, call: Any) -> Any:
        if call.same_as(self.join):
            return self.visit_expr(call.args[self.stays])
        return self.visit_expr_post_order(call)
