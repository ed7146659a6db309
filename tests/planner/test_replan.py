"""Re-planning against a board whose real cost is not what the model predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import TableFamily, TableModel, problem_of

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner import (
    CHALLENGES,
    IMPROVEMENTS,
    ROUNDS,
    Attempt,
    ByWork,
    Problem,
    Replanner,
    solve,
)
from tvm_prune.planner.counts import Count, Extent, Product

DENSE = (9, 12, 7)
KERNELS = ((0,), (0, 1), (1, 2), (2,))
"""Groups of each of four kernels in a row."""
Truth = Callable[[Widths], float]


def by_work() -> ByWork:
    """Chooses by the number of multiplications, among all widths."""
    products = [Product(1, tuple(Extent(0, ((group, 1),)) for group in own)) for own in KERNELS]
    return ByWork(Count(tuple(products)), [range(1, width + 1) for width in DENSE])


def chain(noise: np.random.Generator | None = None, strength: float = 1.0) -> Problem:
    """Four kernels in a row; each costs the product of its widths, or about that."""
    families = []
    for position, groups in enumerate(KERNELS):
        extents = [np.arange(DENSE[group] + 1, dtype=float) for group in groups]
        table = np.prod(np.meshgrid(*extents, indexing="ij"), axis=0) + 1.0
        if noise is not None:
            table = table * noise.uniform(1 - 0.3 * strength, 1 + 0.4 * strength, table.shape)
        families.append(TableFamily(groups, (position,), table))
    return problem_of(families, DENSE, overhead=5.0)


@dataclass
class Board:
    """A board that exists only here, and what it was asked."""

    truth: Truth
    problem: Problem
    unit: str = "simulated"
    built: list[Widths] = field(default_factory=list)
    refined: list[Widths] = field(default_factory=list)

    def measure(self, widths: Widths) -> Measurement:
        self.built.append(widths)
        return Measurement((self.truth(widths),), self.unit)

    def refine(self, choices: list[Widths]) -> Problem:
        self.refined += choices
        return self.problem

    def plan(
        self,
        budget: float,
        scale: float | None = None,
        challengers: Sequence[ByWork] = (),
        improvements: int = 0,
    ) -> tuple[Attempt, list[Attempt]]:
        scale = scale or self.truth(DENSE) / self.problem.predicted(DENSE)
        return Replanner(
            self.refine,
            self.measure,
            budget,
            scale,
            challengers=challengers,
            improvements=improvements,
        ).run()


def learning(
    first: Problem, then: Problem, tells: Callable[[Widths], bool]
) -> Callable[[list[Widths]], Problem]:
    """One problem until the kernels of widths that tell were measured, and then another one."""
    known = [first]

    def refine(choices: list[Widths]) -> Problem:
        if any(map(tells, choices)):
            known.append(then)
        return known[-1]

    return refine


def distorted(seed: int, strength: float = 1.0) -> tuple[Truth, Problem]:
    """A prediction, and a truth that no single factor brings in line with it."""
    prediction = chain(np.random.default_rng(seed))
    generator = np.random.default_rng(seed + 1)
    powers = generator.uniform(-0.3, 0.3, len(DENSE)) * strength

    def truth(widths: Widths) -> float:
        shares = np.array(widths) / np.array(DENSE)
        return 3.0 * prediction.predicted(widths) * float(np.prod(shares**powers))

    return truth, prediction


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.99))
def test_the_best_plan_that_was_measured_within_the_budget_is_returned(
    seed: int, share: float
) -> None:
    truth, prediction = distorted(seed)
    board = Board(truth, prediction)
    budget = share * truth(DENSE)
    best, attempts = board.plan(budget)
    assert best in attempts
    assert best.measured.median == truth(best.solution.widths)
    assert best.measured.median <= budget < truth(DENSE)
    within = [attempt for attempt in attempts if attempt.measured.median <= budget]
    assert best.solution.importance == max(attempt.solution.importance for attempt in within)
    assert [attempt.solution.widths for attempt in attempts] == board.built
    assert len(set(board.built)) == len(board.built) <= ROUNDS


def test_a_prediction_that_is_off_by_a_factor_is_put_right_by_the_dense_model() -> None:
    problem = chain()
    board = Board(lambda widths: 7.0 * problem.predicted(widths), problem)
    budget = 0.5 * board.truth(DENSE)
    best, attempts = board.plan(budget)
    assert len(attempts) == 1
    assert 0.9 * budget < best.measured.median <= budget
    assert best.predicted == pytest.approx(best.measured.median)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0])
def test_a_wrong_scale_is_corrected_by_what_is_measured(scale: float) -> None:
    problem = chain()
    board = Board(problem.predicted, problem)
    budget = 0.5 * board.truth(DENSE)
    best, attempts = board.plan(budget, scale)
    assert len(attempts) > 1
    assert 0.9 * budget < best.measured.median <= budget
    assert abs(attempts[1].predicted - attempts[1].measured.median) < abs(
        attempts[0].predicted - attempts[0].measured.median
    )


def test_the_kernels_of_every_plan_are_measured_before_it_is_built() -> None:
    truth, prediction = distorted(3)
    board = Board(truth, prediction)
    order: list[tuple[str, Widths]] = []
    refine, measure = board.refine, board.measure

    def refining(choices: list[Widths]) -> Problem:
        order.extend(("kernels", widths) for widths in choices)
        return refine(choices)

    def measuring(widths: Widths) -> Measurement:
        order.append(("model", widths))
        return measure(widths)

    scale = truth(DENSE) / prediction.predicted(DENSE)
    Replanner(refining, measuring, 0.5 * truth(DENSE), scale).run()
    assert board.built
    for widths in board.built:
        assert order.index(("kernels", widths)) < order.index(("model", widths))


def test_a_plan_whose_kernels_turn_out_slow_is_given_up_before_it_is_built() -> None:
    """The first prediction is too good to be true for one width; measuring kernels tells."""
    true = chain()
    table = true.model.families[0].table.copy()  # type: ignore[attr-defined]
    table[8] = 0.0
    hopeful = problem_of(
        [TableFamily((0,), (0,), table), *true.model.families[1:]],  # type: ignore[list-item]
        DENSE,
        overhead=true.overhead,
    )
    budget = hopeful.predicted((8, 12, 7)) + 0.5
    assert true.predicted((8, 12, 7)) > budget

    refine = learning(hopeful, true, lambda widths: widths[0] == 8)
    built: list[Widths] = []

    def measure(widths: Widths) -> Measurement:
        built.append(widths)
        return Measurement((true.predicted(widths),), "simulated")

    best, _ = Replanner(refine, measure, budget, 1.0).run()
    assert (8, 12, 7) not in built
    assert best.measured.median <= budget


def test_a_plan_whose_kernels_may_be_faster_than_predicted_is_looked_at() -> None:
    """One width is predicted to be slow; nobody would choose it, and so learn that it is not."""
    true = chain()
    budget = true.predicted((9, 11, 7)) + 0.5
    first, second, *others = true.model.families
    table = second.table.copy()  # type: ignore[attr-defined]
    table[:, 11] = 2 * budget
    families = [first, replace(second, table=table), *others]
    doubtful = replace(true, model=TableModel(families, hoped=true.model.families))  # type: ignore[arg-type]
    assert solve(true, budget).importance > solve(doubtful, budget).importance
    refine = learning(doubtful, true, lambda widths: widths[1] == 11)

    def measure(widths: Widths) -> Measurement:
        return Measurement((true.predicted(widths),), "simulated")

    best, attempts = Replanner(refine, measure, budget, 1.0).run()
    assert best.solution.importance == solve(true, budget).importance
    assert len(attempts) == 1


def test_a_budget_below_everything_names_the_fastest_plan_in_the_boards_unit() -> None:
    problem = chain()
    board = Board(problem.predicted, problem)
    with pytest.raises(BudgetError, match=r"closest one, \[1, 1, 1\]"):
        board.plan(1.0)
    assert board.built == []


def test_a_board_that_never_gets_fast_enough_names_the_closest_measured_plan() -> None:
    """Predicted to scale with the widths; really half of the cost does not go away."""
    problem = chain()
    floor = 0.5 * problem.predicted(DENSE)
    board = Board(lambda widths: floor + 0.5 * problem.predicted(widths), problem)
    budget = 0.9 * floor
    with pytest.raises(BudgetError) as caught:
        board.plan(budget)
    assert board.built
    closest = min(board.built, key=board.truth)
    message = str(caught.value)
    assert f"{budget:.4g} simulated" in message
    assert str(list(closest)) in message
    assert f"{board.truth(closest):.4g} simulated" in message


def trapped(slow: Callable[[Widths], bool]) -> tuple[Board, float]:
    """A board on which some plans are three times as slow as predicted."""
    problem = chain()
    board = Board(
        lambda widths: problem.predicted(widths) * (3.0 if slow(widths) else 1.0), problem
    )
    return board, problem.predicted(DENSE)


def test_a_plan_that_is_measured_too_slow_is_never_built_again() -> None:
    board, dense = trapped(lambda widths: widths[0] > 5 and widths != DENSE)
    best, attempts = board.plan(0.9 * dense)
    assert any(attempt.measured.median > 0.9 * dense for attempt in attempts)
    assert best.measured.median <= 0.9 * dense
    assert len(set(board.built)) == len(board.built)


def test_where_every_plan_is_measured_too_slow_the_search_ends_and_says_so() -> None:
    problem = chain()
    dense = problem.predicted(DENSE)
    board = Board(lambda widths: dense if widths == DENSE else 1.5 * dense, problem)
    with pytest.raises(BudgetError, match="No plan met the budget"):
        board.plan(0.99 * dense)
    assert 1 < len(board.built) <= ROUNDS
    assert len(set(board.built)) == len(board.built)


def test_a_cost_that_widths_hardly_change_is_followed_down_to_the_budget() -> None:
    """Each plan is further off than the one before it, until the prediction rules out them all."""
    problem = chain()
    dense = problem.predicted(DENSE)
    board = Board(lambda widths: 0.5 * dense + 0.5 * dense * sum(widths) / sum(DENSE), problem)
    best, _ = board.plan(0.7 * dense)
    assert best.measured.median <= 0.7 * dense


def test_one_slow_plan_does_not_rule_out_all_others() -> None:
    """Its ratio of measured to predicted cost would leave nothing within the budget."""
    board, dense = trapped(lambda widths: len(board.built) == 1)
    budget = 1.5 * board.problem.predicted((1, 1, 1))
    best, attempts = board.plan(budget, scale=1.0)
    assert attempts[0].measured.median > budget
    assert best.measured.median <= budget < dense


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.99))
def test_where_costs_are_exact_the_budget_is_used_up_and_no_less_kept(
    seed: int, share: float
) -> None:
    truth, prediction = distorted(seed)
    budget = share * truth(DENSE)
    kept = []
    for unit in ("simulated", "instructions"):
        best, attempts = Board(truth, prediction, unit).plan(budget)
        assert best.measured.median <= budget
        assert len(attempts) <= ROUNDS
        kept.append(best.solution.importance)
    assert kept[0] <= kept[1]


def test_where_costs_are_exact_the_search_goes_on_to_a_plan_that_keeps_more() -> None:
    truth, prediction = distorted(47, 0.3)
    budget = 0.3 * truth(DENSE)
    close, _ = Board(truth, prediction).plan(budget)
    closer, _ = Board(truth, prediction, "instructions").plan(budget)
    assert close.measured.median < closer.measured.median <= budget
    assert close.solution.importance < closer.solution.importance


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.99))
def test_plans_by_work_never_make_the_result_worse(seed: int, share: float) -> None:
    truth, prediction = distorted(seed)
    board = Board(truth, prediction)
    budget = share * truth(DENSE)
    unchallenged, alone = Board(truth, prediction).plan(budget)
    best, attempts = board.plan(budget, challengers=[by_work()])
    assert best.measured.median <= budget
    assert best.solution.importance >= unchallenged.solution.importance
    assert len(alone) <= len(attempts) <= len(alone) + CHALLENGES
    assert len(set(board.built)) == len(board.built)


def test_plans_by_work_win_where_the_prediction_is_wrong_about_them() -> None:
    """On the board work is all that counts; the predictions are off by up to 40 %."""
    true = chain()
    budget = 0.5 * true.predicted(DENSE)
    leads = []
    for seed in range(10):
        wrong = chain(np.random.default_rng(seed))
        alone, _ = Board(true.predicted, wrong).plan(budget)
        best, _ = Board(true.predicted, wrong).plan(budget, challengers=[by_work()])
        leads.append(best.solution.importance - alone.solution.importance)
    assert max(leads) > 0
    assert min(leads) >= 0


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.99))
def test_the_best_plan_by_work_that_fits_is_found_or_beaten(seed: int, share: float) -> None:
    """Odd widths are slower by some percent, which no prediction knows."""
    problem = chain(np.random.default_rng(seed), strength=0.03)
    even = replace(by_work(), candidates=[range(2, width + 1, 2) for width in DENSE])

    def truth(widths: Widths) -> float:
        return even.work.at(widths) * (1.06 if any(width % 2 for width in widths) else 1.0)

    budget = share * truth(DENSE)
    best, _ = Board(truth, problem).plan(budget, challengers=[even])
    assert best.solution.importance >= even.plan(problem, budget).importance


def test_a_plan_by_work_that_is_clearly_too_slow_is_not_built() -> None:
    """One width is predicted to cost as much as all of the model, and that was measured."""
    fair = chain()
    first, second, *others = fair.model.families
    table = second.table.copy()  # type: ignore[attr-defined]
    table[:, 11] += fair.predicted(DENSE)
    model = TableModel([first, replace(second, table=table), *others])  # type: ignore[arg-type, list-item, type-var]
    known = replace(fair, model=model)  # type: ignore[arg-type]
    slow = (9, 11, 7)
    challenger = replace(by_work(), candidates=[[width] for width in slow])
    board = Board(known.predicted, known)
    best, _ = board.plan(fair.predicted(slow) + 0.5, challengers=[challenger])
    assert fair.importance(slow) > best.solution.importance
    assert slow in board.refined
    assert slow not in board.built


def nearly(seed: int, share: float) -> tuple[Board, float]:
    """A board that agrees with the prediction within some per cent, and a share of its costs."""
    problem = chain()

    def truth(widths: Widths) -> float:
        by_chance = np.random.default_rng([seed, *widths]).normal(0.0, 0.02)
        return problem.predicted(widths) * float(np.exp(by_chance))

    return Board(truth, problem), share * truth(DENSE)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.99))
def test_plans_hardly_above_the_budget_never_make_the_result_worse(seed: int, share: float) -> None:
    board, budget = nearly(seed, share)
    before, alone = nearly(seed, share)[0].plan(budget)
    best, attempts = board.plan(budget, improvements=IMPROVEMENTS)
    assert best.measured.median <= budget
    assert best.solution.importance >= before.solution.importance
    assert attempts[: len(alone)] == alone
    assert len(attempts) <= len(alone) + IMPROVEMENTS
    assert len(set(board.built)) == len(board.built)


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75, 0.9])
def test_a_plan_that_is_expected_hardly_above_the_budget_wins_where_it_is_within_it(
    share: float,
) -> None:
    problem = chain()
    lucky = solve(problem, share * problem.predicted(DENSE))
    budget = lucky.predicted / 1.005
    truth = {lucky.widths: 0.99 * budget}
    board = Board(lambda widths: truth.get(widths, problem.predicted(widths)), problem)
    alone, _ = board.plan(budget)
    best, _ = board.plan(budget, improvements=IMPROVEMENTS)
    assert alone.solution.importance < lucky.importance
    assert best.solution.widths == lucky.widths


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75, 0.9])
def test_where_costs_are_exact_no_plan_that_is_expected_above_the_budget_is_built(
    share: float,
) -> None:
    problem = chain()
    budget = share * problem.predicted(DENSE)
    board = Board(problem.predicted, problem, "instructions")
    board.plan(budget, challengers=[by_work()], improvements=IMPROVEMENTS)
    assert all(board.truth(widths) <= budget for widths in board.built)


def test_what_a_plan_by_work_teaches_is_planned_with_where_costs_are_exact() -> None:
    """Widths are predicted to be slow until one is measured, for a plan by work that is slow."""
    true = chain()
    budget = 0.99 * true.predicted((9, 11, 7))
    first, second, *others = true.model.families
    table = second.table.copy()  # type: ignore[attr-defined]
    table[:, [10, 11]] = 2 * budget
    families = [first, replace(second, table=table), *others]
    doubtful = replace(true, model=TableModel(families))  # type: ignore[arg-type]
    challenger = replace(by_work(), candidates=[[9], [11], [7]])
    assert solve(doubtful, budget).importance < solve(true, budget).importance
    refine = learning(doubtful, true, lambda widths: widths[1] == 11)

    def measure(widths: Widths) -> Measurement:
        return Measurement((true.predicted(widths),), "instructions")

    best, _ = Replanner(refine, measure, budget, 1.0, challengers=[challenger]).run()
    assert best.solution == solve(true, budget)
