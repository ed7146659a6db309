"""Which of the plans that were found becomes the model that is delivered.

Plans are given, and how long their models take is written down here; everything else is real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.table_board import DENSE, Stopwatch, Widths, images, network

import tvm_prune
from tvm_prune import PruneResult, Settings, delivery
from tvm_prune.budget import Budgets
from tvm_prune.deployment import Arrays, Deployed, deploy
from tvm_prune.errors import BudgetError
from tvm_prune.measurement import Measurement
from tvm_prune.planner import Attempt, Planned, Solution
from tvm_prune.search import Search

BEST, EQUAL, NEXT, NARROW = (8, 8), (7, 8), (8, 7), (4, 4)
SHARES: Mapping[Widths, float] = {DENSE: 1.0, BEST: 0.5, EQUAL: 0.499, NEXT: 0.485, NARROW: 0.25}
"""What models take."""
BUDGET = 0.5
DENSE_COST = Measurement((1.0,), "seconds")


def attempt(widths: Widths) -> Attempt:
    """A plan of which the planner knows what it costs; wider ones are more important."""
    cost = SHARES[widths]
    return Attempt(Solution(widths, cost, cost, 0.0), cost, Measurement((cost,), "seconds"))


@dataclass
class Scene:
    """Plans, and what the models take that they become.

    Attributes:
        plans: what each round of planning finds; none is an error.
        times: of a model once it is delivered, over what it took before, one a measurement.
        delivered: widths of the models that were delivered, in order.
        margins: share of the latency budget that each round was planned for.
    """

    plans: Sequence[Sequence[Widths]]
    times: Mapping[Widths, Sequence[float]] = field(default_factory=dict)
    delivered: list[Widths] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = {widths: iter(times) for widths, times in self.times.items()}

    def plan(
        self, _search: Search, budgets: Budgets, margins: Mapping[str, float] | None = None
    ) -> Planned:
        self.margins.append((margins or {}).get("latency", 1.0))
        found = [attempt(widths) for widths in self.plans[len(self.margins) - 1]]
        if not found:
            raise BudgetError(f"No plan met the budget {budgets}.")
        return Planned.of(found, BUDGET, DENSE_COST)

    def deploy(self, search: Search, widths: Widths, calibration: Arrays) -> Deployed:
        self.delivered.append(widths)
        return deploy(search, widths, calibration)

    def cost(self, widths: Widths) -> float:
        return SHARES[widths] * next(self._left.get(widths, iter(())), 1.0)


Delivering = Callable[[Scene], PruneResult]


@pytest.fixture
def delivering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivering:
    """Delivers a scene's plans."""

    def deliver(scene: Scene) -> PruneResult:
        Stopwatch(scene.cost, tmp_path).install(monkeypatch)
        monkeypatch.setattr(Search, "plan", lambda *arguments: scene.plan(*arguments))
        monkeypatch.setattr(delivery, "deploy", scene.deploy)
        settings = Settings(
            trials=1, samples=3, recover=False, objective="importance", cache=tmp_path / "cache"
        )
        return tvm_prune.prune(
            network(), calibration=images(16), settings=settings, latency=f"{BUDGET}x"
        )

    return deliver


@pytest.mark.parametrize("times", [(1.01, 0.98), (0.98, 1.01)], ids=str)
def test_a_model_near_the_budget_is_judged_by_two_measurements(
    times: tuple[float, float], delivering: Delivering
) -> None:
    scene = Scene([[BEST, NARROW]], {BEST: times})
    result = delivering(scene)
    assert scene.delivered == [BEST]
    assert result.latency.samples == pytest.approx([BUDGET * each for each in times])
    assert len(result.dense_latency.samples) == 2


def test_a_model_far_below_the_budget_is_measured_once(delivering: Delivering) -> None:
    scene = Scene([[NARROW]])
    assert len(delivering(scene).latency.samples) == 1


@pytest.mark.parametrize("times", [(1.02, 0.999), (0.999, 1.02)], ids=str)
def test_after_a_miss_the_next_plan_that_uses_the_budget_is_delivered(
    times: Sequence[float], delivering: Delivering
) -> None:
    scene = Scene([[BEST, NEXT, NARROW]], {BEST: times})
    result = delivering(scene)
    assert scene.delivered == [BEST, NEXT]
    assert scene.margins == [1.0]
    assert result.latency.median == pytest.approx(SHARES[NEXT])


def test_after_a_miss_all_is_planned_anew_where_no_other_plan_uses_the_budget(
    delivering: Delivering,
) -> None:
    scene = Scene([[BEST, NARROW], [NEXT, NARROW]], {BEST: (1.02, 1.02)})
    delivering(scene)
    assert scene.delivered == [BEST, NEXT]


@pytest.mark.parametrize("times", [(1.001, 1.001), (1.3,)], ids=str)
def test_a_miss_costs_one_per_cent_of_the_latency_whatever_it_was(
    times: Sequence[float], delivering: Delivering
) -> None:
    scene = Scene([[BEST, NARROW], [NEXT, NARROW]], {BEST: times})
    delivering(scene)
    assert scene.margins == pytest.approx([1.0, 0.99])


def test_another_miss_costs_three_per_cent_more(delivering: Delivering) -> None:
    scene = Scene([[BEST, NARROW]] * 2 + [[NARROW]], {BEST: (1.3, 1.3)})
    delivering(scene)
    assert scene.margins == pytest.approx([1.0, 0.99, 0.99 * 0.97])


def test_where_no_plan_is_found_with_a_margin_one_of_before_is_delivered(
    delivering: Delivering,
) -> None:
    scene = Scene([[BEST, NARROW], []], {BEST: (1.02, 1.02)})
    delivering(scene)
    assert scene.delivered == [BEST, NARROW]
    assert len(scene.margins) == 2


def test_where_no_plan_is_found_with_a_margin_one_without_it_is_delivered(
    delivering: Delivering,
) -> None:
    scene = Scene([[BEST, EQUAL], []], {BEST: (1.02, 1.02)})
    delivering(scene)
    assert scene.delivered == [BEST, EQUAL]


def test_where_there_is_no_plan_left_the_error_says_so(delivering: Delivering) -> None:
    with pytest.raises(BudgetError, match=r"No plan met the budget 0\.5x"):
        delivering(Scene([[BEST], []], {BEST: (1.1,)}))


def test_where_every_model_misses_the_last_one_is_told(delivering: Delivering) -> None:
    scene = Scene([[BEST]] * delivery.DEPLOYMENTS, {BEST: (1.1,) * delivery.DEPLOYMENTS})
    with pytest.raises(BudgetError, match=r"the last one needed 0\.55 seconds"):
        delivering(scene)
    assert scene.delivered == [BEST] * delivery.DEPLOYMENTS
