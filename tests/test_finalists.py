"""Which plan is delivered, of those within the budgets: the one whose output moves least.

Kernels and whole models cost what the simulated board says; everything else is real.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.table_board import Array, TableBoard, Widths, images, network

from tvm_prune import Settings, finalists
from tvm_prune.finalists import FINALISTS, with_the_best_first
from tvm_prune.measurement import Measurement
from tvm_prune.planner import Attempt, Planned, Solution
from tvm_prune.progress import Silent
from tvm_prune.workflow import opened

NARROW, WIDE = (3, 3), (14, 15)
MORE, LESS = 0.9, 0.8999
"""Importance that hardly differs, so that the outputs decide."""
BUDGET = 2.0


def attempt(widths: Widths, importance: float, cost: float = 1.0) -> Attempt:
    """A plan whose importance may be anything: what it loses is told by its output."""
    solution = Solution(widths, importance, predicted=cost, gap=0.0)
    return Attempt(solution, cost, Measurement((cost,), "simulated"))


def planned(*attempts: Attempt) -> Planned:
    return Planned.of(attempts, BUDGET, Measurement((2 * BUDGET,), "simulated"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs on the simulated board keep what they learn."""
    TableBoard(lambda _: 1.0, tmp_path).install(monkeypatch)
    return tmp_path / "cache"


def first_of(found: Planned, settings: Settings, samples: int = 64) -> Widths:
    calibration = images(samples)
    with opened(network(), "host", settings, Silent(), calibration) as search:
        result = with_the_best_first(search, found, calibration)
    assert set(result.within) == set(found.within)
    assert result.attempts == found.attempts
    assert result.best is not None
    return result.best.solution.widths


def noting(function: Callable[..., Any], seen: list[Array]) -> Callable[..., Any]:
    """The function, which writes down the samples that it is given last."""

    def noted(*arguments: Any) -> Any:
        seen.append(arguments[-1]["x"])
        return function(*arguments)

    return noted


@pytest.mark.parametrize("samples", [1, 2, 64, 400])
@pytest.mark.parametrize("recover", [True, False], ids=["recovered", "as it is"])
def test_the_plan_whose_output_moves_least_is_delivered(
    samples: int, recover: bool, folder: Path
) -> None:
    found = planned(attempt(NARROW, MORE), attempt(WIDE, LESS))
    assert found.within[0].solution.widths == NARROW
    assert first_of(found, Settings(recover=recover, cache=folder), samples) == WIDE


@pytest.mark.parametrize(
    ("samples", "fitted", "judged"),
    [
        (1, slice(0, 1), slice(0, 1)),
        (2, slice(0, 1), slice(1, 2)),
        (64, slice(0, 32), slice(32, 64)),
        (400, slice(0, 128), slice(128, 400)),
        (1000, slice(0, 128), slice(128, 640)),
    ],
)
def test_plans_are_judged_on_other_samples_than_they_are_recovered_with(
    samples: int, fitted: slice, judged: slice, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Array]] = {"recovered": [], "reference_outputs": []}
    for name, noted in seen.items():
        monkeypatch.setattr(finalists, name, noting(getattr(finalists, name), noted))
    first_of(planned(attempt(NARROW, MORE), attempt(WIDE, LESS)), Settings(cache=folder), samples)
    calibration = images(samples)["x"]
    recovered_with, compared_on = seen.values()
    assert len(recovered_with) == 2
    assert len(compared_on) == 3, "the dense model, and two plans"
    assert all(np.array_equal(each, calibration[fitted]) for each in recovered_with)
    assert all(np.array_equal(each, calibration[judged]) for each in compared_on)


def test_a_plan_that_is_expected_to_lose_much_is_not_delivered(folder: Path) -> None:
    found = planned(attempt(NARROW, MORE), attempt(WIDE, 0.1))
    assert first_of(found, Settings(cache=folder)) == NARROW


def test_where_importance_is_the_objective_it_decides(folder: Path) -> None:
    found = planned(attempt(WIDE, LESS), attempt(NARROW, MORE))
    assert first_of(found, Settings(objective="importance", cache=folder)) == NARROW


def test_plans_above_the_budget_are_no_finalists(folder: Path) -> None:
    found = planned(attempt(NARROW, MORE), attempt(WIDE, LESS, cost=1.1 * BUDGET))
    assert [one.solution.widths for one in found.within] == [NARROW]
    assert len(found.attempts) == 2
    assert first_of(found, Settings(cache=folder)) == NARROW


def test_only_the_most_important_plans_are_compared(folder: Path) -> None:
    others = [attempt((3, 3 + number), MORE) for number in range(FINALISTS)]
    assert first_of(planned(*others, attempt(WIDE, LESS)), Settings(cache=folder)) != WIDE
