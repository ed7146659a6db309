"""Tries a pruned module on an example, and names the part of it that cannot be pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tvm_prune.errors import PlanError

TOLERANCE = 1e-3
"""Largest difference, relative to the largest value of an output, that rounding explains."""

READ_THE_SIZES = "let it read sizes from its tensors (view(b, n, heads, -1), scale=...)"
UNCHANGED = "The module was not changed."


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Eval mode without gradients; every submodule gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def outputs_of(module: Any, example: Any, is_pruned: bool = True) -> list[Any]:
    """All tensors that a module returns for an example.

    Args:
        module: the module; it runs in eval mode.
        example: a tensor, a tuple of arguments, or a mapping of them by name.
        is_pruned: whether it is the plan's fault, not the example's, if it fails.

    Raises:
        PlanError: if it fails; the message names the submodule.
    """
    running: list[tuple[str, Any]] = []
    hooks = []
    for path, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(_entering(running, (path, part))))
        hooks.append(part.register_forward_hook(_leaving(running)))
    try:
        with _evaluating(module):
            if isinstance(example, Mapping):
                result = module(**example)
            else:
                result = module(*(example if isinstance(example, Sequence) else (example,)))
    except Exception as error:  # the user's own code
        where = running or [("", module)]
        raise PlanError(_failure(where, error) if is_pruned else _misfit(where, error)) from error
    finally:
        for hook in hooks:
            hook.remove()
    leaves = torch.utils._pytree.tree_leaves(result)
    return [leaf for leaf in leaves if torch.is_tensor(leaf)]


def _entering(running: list[tuple[str, Any]], entry: tuple[str, Any]) -> Any:
    def enter(_part: Any, _arguments: Any) -> None:
        running.append(entry)

    return enter


def _leaving(running: list[tuple[str, Any]]) -> Any:
    def leave(_part: Any, _arguments: Any, _result: Any) -> None:
        running.pop()

    return leave


def _failure(running: list[tuple[str, Any]], error: Exception) -> str:
    """Names the innermost submodule, and the innermost one that is not torch's own."""
    own = [entry for entry in running if not type(entry[1]).__module__.startswith("torch.nn.")]
    author = (own or running)[-1]
    where = _named(running[-1])
    if author[1] is not running[-1][1]:
        where += f", called by {_named(author)}"
    kept = f", or keep its channels (keep=('{author[0]}',))" if author[0] else ""
    return (
        f"The pruned module fails in {where}: {_line(error)}. Its code counts on channels that "
        f"the plan removes; {READ_THE_SIZES}{kept}. {UNCHANGED}"
    )


def _misfit(running: list[tuple[str, Any]], error: Exception) -> str:
    return (
        f"The module does not run on the example: {_line(error)} (in {_named(running[-1])}). "
        f"Give arguments that forward takes. {UNCHANGED}"
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _named(entry: tuple[str, Any]) -> str:
    path, part = entry
    return f"'{path}' ({type(part).__name__})" if path else type(part).__name__


def compare(expected: Sequence[Any], actual: Sequence[Any]) -> None:
    """Compare the pruned module's outputs with those of the masked dense one.

    Args:
        expected: outputs of the dense module with zeros in the removed slices.
        actual: outputs of the pruned module.

    Raises:
        PlanError: if they differ.
    """
    for want, got in zip(expected, actual, strict=True):
        if want.shape != got.shape:
            raise PlanError(
                f"The pruned module returns the shape {tuple(got.shape)} in place of "
                f"{tuple(want.shape)}: its code counts on channels that the plan removes. "
                f"{UNCHANGED}"
            )
        if not want.is_floating_point() or not want.numel():
            continue
        scale = float(want.abs().max()) or 1.0
        difference = float((want - got).abs().max()) / scale
        if not difference <= TOLERANCE:
            raise PlanError(
                f"The pruned module differs from the dense one without these channels by "
                f"{difference:.1e} of its largest output: somewhere its code counts on channels "
                f"that the plan removes (chunk, view, a scale); {READ_THE_SIZES}. {UNCHANGED}"
            )
