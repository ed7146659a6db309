"""No plan is delivered for a single measurement that was too good to be true.

Kernels cost what the simulated board says, in seconds; how long whole models take is written down
here. Everything else is real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.table_board import DENSE, Stopwatch, Widths, images, network

import tvm_prune
from tvm_prune import PruneResult, Settings, delivery
from tvm_prune.deployment import Arrays, Deployed, deploy
from tvm_prune.errors import BudgetError
from tvm_prune.search import Search


def share(widths: Widths) -> float:
    return sum(widths) / sum(DENSE)


@pytest.fixture
def pruned_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PruneResult]:
    """Prunes on a board where whole models cost what a function of their widths says."""

    def prune(cost: Callable[[Widths], float], latency: str) -> PruneResult:
        Stopwatch(cost, tmp_path).install(monkeypatch)
        settings = Settings(trials=1, samples=3, recover=False, cache=tmp_path / "cache")
        return tvm_prune.prune(
            network(), calibration=images(16), settings=settings, latency=latency
        )

    return prune


def widths_of(result: PruneResult) -> Widths:
    return tuple(width.kept for width in result.plan.widths)


def test_a_plan_that_was_fast_only_once_is_not_even_built_for_delivery(
    pruned_on: Callable[..., PruneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first measurement said that it is fast enough."""
    delivered: list[Widths] = []

    def noted(search: Search, widths: Widths, calibration: Arrays) -> Deployed:
        delivered.append(widths)
        return deploy(search, widths, calibration)

    monkeypatch.setattr(delivery, "deploy", noted)
    timed: Counter[Widths] = Counter()

    def cost(widths: Widths) -> float:
        timed[widths] += 1
        lucky = 0.5 < share(widths) < 1 and timed[widths] == 1
        return 0.49 if lucky else share(widths)

    result = pruned_on(cost, "0.5x")
    assert any(share(widths) > 0.5 and times > 1 for widths, times in timed.items())
    assert share(widths_of(result)) <= 0.5
    assert delivered == [widths_of(result)]


def test_where_every_plan_was_fast_only_once_the_error_says_so(
    pruned_on: Callable[..., PruneResult],
) -> None:
    timed: Counter[Widths] = Counter()

    def cost(widths: Widths) -> float:
        timed[widths] += 1
        return 1.0 if widths == DENSE else 0.45 if timed[widths] == 1 else 2.0

    with pytest.raises(BudgetError, match=r"(above it when it was measured again|No plan met)"):
        pruned_on(cost, "0.5x")
