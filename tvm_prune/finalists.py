"""The last word among plans that were measured within the budgets: how far their outputs move.

The planner adds up what groups lose one by one, which is right for small losses. What a plan loses
as a whole can only be told when it is there: recovered, as it would be delivered. Few samples tell
either of them with some noise, so both count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from tvm_prune.deployment import recovered
from tvm_prune.model import batch_size
from tvm_prune.planner import FINALISTS, Attempt, Planned
from tvm_prune.search import Search
from tvm_prune.sensitivity import output_loss
from tvm_prune.verification import reference_outputs

Arrays = Mapping[str, NDArray[Any]]

SAMPLES = 128
"""Samples that they are recovered with, at most, as that takes long."""
JUDGED = 512
"""Others that they are compared on, at most."""


def with_the_best_first(search: Search, planned: Planned, calibration: Arrays) -> Planned:
    """The plans with the one first whose output is nearest to the dense model's.

    How near is told by two estimates, multiplied as their scales differ: the loss that the planner
    expects, of all groups one by one, and that of the whole plan on samples of its own.
    Where the objective is not the network's output, or there is one plan only, nothing changes.

    Args:
        search: the run.
        planned: what planning found.
        calibration: samples stacked along the first axis, by input name.
    """
    compared = planned.within[:FINALISTS]
    if len(compared) < 2 or not search.compilation.shares:
        return planned
    fitted, judged = _apart(search, calibration)
    wanted = reference_outputs(search.compilation.model, judged)
    losses = []
    with search.progress.step("comparing the outputs of plans", len(compared)) as step:
        for done, attempt in enumerate(compared, start=1):
            _, model = recovered(search, attempt.solution.widths, fitted)
            loss = output_loss(wanted, reference_outputs(model, judged))
            losses.append(_expected_loss(attempt) * loss)
            step.update(done, f"widths {list(attempt.solution.widths)} move it by {loss:.4g}")
    best = compared[losses.index(min(losses))]
    others = (attempt for attempt in planned.within if attempt is not best)
    return replace(planned, within=(best, *others))


def _expected_loss(attempt: Attempt) -> float:
    """Losses of all groups, from the harmonic mean of one over one plus each."""
    solution = attempt.solution
    return len(solution.widths) * (1.0 / solution.importance - 1.0)


def _apart(search: Search, calibration: Arrays) -> tuple[Arrays, Arrays]:
    """Samples to recover with and others to judge on; the same ones if there is one batch only."""
    specs = search.compilation.model.inputs
    batch = batch_size(specs)
    batches = len(calibration[specs[0].name]) // batch
    fitted = min(batches // 2, max(1, SAMPLES // batch)) * batch
    if fitted == 0:
        return calibration, calibration
    judged = min(batches * batch, fitted + max(1, JUDGED // batch) * batch)
    return (
        {name: array[:fitted] for name, array in calibration.items()},
        {name: array[fitted:judged] for name, array in calibration.items()},
    )
