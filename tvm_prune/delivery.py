"""Plans are delivered, the best one first, until one meets the budgets as it is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from tvm_prune.budget import Budgets, Costs
from tvm_prune.deployment import Deployed, deploy, measured_twice
from tvm_prune.errors import BudgetError
from tvm_prune.finalists import with_the_best_first
from tvm_prune.measurement import Measurement
from tvm_prune.planner import CLOSE_ENOUGH, Planned
from tvm_prune.search import Search
from tvm_prune.units import SECONDS

Arrays = Mapping[str, NDArray[Any]]

DEPLOYMENTS = 4
"""How many plans are delivered until one meets the budgets, at most."""

FIRST_MARGIN, LATER_MARGIN = 0.01, 0.03
"""Shares of the latency bound that are given up when a delivered model misses it, and another."""

_NEAR = 0.03
"""Distance from the bound, relative to it, within which one measurement in seconds says little."""


@dataclass(frozen=True)
class Delivery:
    """A plan, and the model that it became.

    Attributes:
        planned: the plan, first of those that were measured within the budgets.
        deployed: the model, which meets them as it is.
    """

    planned: Planned
    deployed: Deployed


def plan_first(
    search: Search,
    budgets: Budgets,
    calibration: Arrays,
    margins: Mapping[str, float] | None = None,
) -> Planned:
    """Plans that were measured within the budgets, the one to deliver first.

    Args:
        search: the run.
        budgets: what the pruned model may cost.
        calibration: samples stacked along the first axis, by input name.
        margins: shares of the bounds to plan for where it is not all of them, by quantity.

    Raises:
        BudgetError: if the budgets cannot be met.
    """
    return with_the_best_first(search, search.plan(budgets, margins), calibration)


def deliver(search: Search, budgets: Budgets, calibration: Arrays) -> Delivery:
    """The best plan whose model meets the budgets as it is delivered.

    After a miss, the next plan keeps a margin. It is one that was measured already where one uses
    most of what is left of the budget.

    Args:
        search: the run.
        budgets: what the pruned model may cost.
        calibration: samples stacked along the first axis, by input name.

    Raises:
        BudgetError: if there is none.
        VerificationError: if a compiled model does not compute what it should.
    """
    margins: dict[str, float] = {}
    planned = plan_first(search, budgets, calibration)
    for left in reversed(range(DEPLOYMENTS)):
        deployed = _deployed(search, planned, budgets, calibration)
        dense = _dense_costs(search, deployed)
        missed = budgets.missed(deployed.costs(), dense)
        if not missed:
            return Delivery(planned, deployed)
        if left:
            margins |= _tightened(margins, missed, deployed.costs(), budgets.limits(dense))
            search.progress.say(
                f"the delivered model missed the {' and '.join(missed)} budget; "
                "going on with a margin"
            )
            planned = _next(search, planned, budgets, calibration, margins)
    raise BudgetError(
        f"Every plan for the budget {budgets} missed it when it was measured again: the last "
        f"one needed {deployed.latency.median:.4g} {deployed.latency.unit}, the dense model "
        f"{deployed.dense_latency.median:.4g}. Allow more, or measure on a quieter machine."
    )


def _deployed(search: Search, planned: Planned, budgets: Budgets, calibration: Arrays) -> Deployed:
    """Deliver the first plan; the search learns from how long the model takes."""
    if planned.best is None:
        return deploy(search, search.compilation.dense, calibration)
    widths = planned.best.solution.widths
    deployed = deploy(search, widths, calibration)
    bound = budgets.limits(_dense_costs(search, deployed))["latency"]
    if is_near(deployed.latency, bound):
        deployed = measured_twice(search, deployed)
    search.models.learn(widths, deployed.dense_latency, deployed.latency)
    return deployed


def is_near(cost: Measurement, bound: float) -> bool:
    """Whether one measurement in seconds is so close to a bound that it takes another to tell."""
    return cost.unit == SECONDS and abs(cost.median - bound) <= _NEAR * bound


def _dense_costs(search: Search, deployed: Deployed) -> Costs:
    """What the dense model costs, its latency as it was beside the delivered one."""
    return {**search.dense_costs(), "latency": deployed.dense_latency.median}


def _tightened(
    margins: Mapping[str, float], missed: Sequence[str], costs: Costs, limits: Costs
) -> dict[str, float]:
    """Shares of the missed bounds to plan for: less by as much as they were missed by.

    How far one model misses a latency says little of others, so that of a latency a little is given
    up whatever it was; what is counted is off for all alike.
    """
    found = {}
    for name in missed:
        met = limits[name] / costs[name]
        if name == "latency":
            met = 1.0 - (LATER_MARGIN if name in margins else FIRST_MARGIN)
        found[name] = margins.get(name, 1.0) * met
    return found


def _next(
    search: Search,
    planned: Planned,
    budgets: Budgets,
    calibration: Arrays,
    margins: Mapping[str, float],
) -> Planned:
    """The plans to go on with when the first one missed a budget.

    What a plan costs beside its latency is not known before it is delivered, so that where
    anything else was missed, all is planned anew.
    """
    if margins.keys() != {"latency"}:
        return plan_first(search, budgets, calibration, margins)
    bound = margins["latency"] * budgets.limits(search.dense_costs())["latency"]
    others = planned.within[1:]
    safer = tuple(each for each in others if each.measured.median <= bound)
    if safer and safer[0].measured.median >= CLOSE_ENOUGH * bound:
        return replace(planned, within=safer)
    try:
        return plan_first(search, budgets, calibration, margins)
    except BudgetError:
        if not others:
            raise
        return replace(planned, within=safer or others)
