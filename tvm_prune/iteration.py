"""On the way to a model: pruning in steps, and the search for the fastest good enough one.

Both judge models by their accuracy in ONNX Runtime, recovered, before anything is built or measured
on the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.budget import Budget, Budgets, Costs
from tvm_prune.channels import ChannelGroup, Channels, find_channels
from tvm_prune.compilation import Compilation
from tvm_prune.deployment import recovered
from tvm_prune.errors import BudgetError, DataError
from tvm_prune.importance import Thresholds
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan
from tvm_prune.result import PruneResult
from tvm_prune.scoring import Scoring, score
from tvm_prune.search import Search
from tvm_prune.settings import Settings
from tvm_prune.verification import LABEL, reference_outputs

Arrays = Mapping[str, NDArray[Any]]

CUBIC = 3
_ROUNDING = 1e-9
BISECTIONS = 6
NARROWEST = 0.1
"""Smallest share of the dense latency that the search for the fastest model looks at."""


@dataclass(frozen=True)
class Journey:
    """Goes to a model by way of others.

    Attributes:
        search: plans on the board; its compilation is replaced as the scores change.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples, or None.
    """

    search: Search
    calibration: Arrays
    evaluation: Arrays | None

    def in_steps(self, budgets: Budgets) -> Budgets:
        """Prune in steps, scoring the units that are left after each of them.

        The budgets tighten by a polynomial schedule (Zhu and Gupta, "To prune, or not to prune",
        2017). Where the accuracy on the evaluation data drops by more than allowed, the step is
        taken back, and its predecessor's budgets are what is delivered.

        Returns:
            The budgets to deliver; the search goes by the scores of the last step.

        Raises:
            BudgetError: if the first step already drops the accuracy by more than allowed.
        """
        settings, dense = self.search.settings, self.search.dense_costs()
        final, reached = budgets.bounds(dense), Budgets(())
        with self.search.progress.step("pruning in steps", settings.steps) as step:
            for index in range(1, settings.steps + 1):
                share = schedule(settings.schedule, index / settings.steps)
                bounds = {
                    name: dense[name] + share * (bound - dense[name])
                    for name, bound in final.items()
                }
                is_last = index == settings.steps
                if is_last and settings.max_accuracy_drop is None:
                    break
                widths = self.search.predicted_widths(bounds)
                plan, model = recovered(self.search, widths, self.calibration)
                if not self._is_good(model):
                    return self._rolled_back(reached, index)
                reached = Budgets(tuple(Budget(name, bound) for name, bound in bounds.items()))
                if not is_last:
                    self._score_again(plan, model)
                step.update(index, f"widths {list(widths)}")
        return budgets

    def _rolled_back(self, reached: Budgets, step: int) -> Budgets:
        allowed = self.search.settings.max_accuracy_drop or 0.0
        if not reached.rows:
            raise BudgetError(
                f"The first step already drops the accuracy by more than {allowed * 100:g} points. "
                "Allow more, take more steps, or give looser budgets."
            )
        self.search.progress.say(
            f"step {step} drops the accuracy by more than {allowed * 100:g} points; going back to "
            f"{reached}"
        )
        return reached

    def fastest(self, budgets: Budgets) -> Budgets:
        """The tightest latency budget, within those given, whose model is accurate enough.

        Raises:
            BudgetError: if no pruned model is.
        """
        dense = self.search.dense_costs()
        others = budgets.bounds(dense)
        high = min(1.0, others.pop("latency", dense["latency"]) / dense["latency"])
        low, found = min(NARROWEST, high), None
        with self.search.progress.step("looking for the fastest model", BISECTIONS) as step:
            for index in range(1, BISECTIONS + 1):
                ratio = (low + high) / 2
                step.update(index, f"{ratio:.2f}x")
                if self._meets({**others, "latency": ratio * dense["latency"]}):
                    high = found = ratio
                else:
                    low = ratio
        if found is None:
            allowed = (self.search.settings.max_accuracy_drop or 0.0) * 100
            raise BudgetError(
                f"No pruned model keeps the accuracy within {allowed:g} points of the dense one's. "
                "Allow a larger drop (--max-accuracy-drop), or give more calibration samples."
            )
        rows = tuple(row for row in budgets.rows if row.quantity != "latency")
        return Budgets((*rows, Budget("latency", ratio=round(found, 4))))

    def _meets(self, bounds: Mapping[str, float]) -> bool:
        try:
            widths = self.search.predicted_widths(bounds)
        except BudgetError:
            return False
        return self._is_good(recovered(self.search, widths, self.calibration)[1])

    def _is_good(self, model: Model) -> bool:
        allowed = self.search.settings.max_accuracy_drop
        if allowed is None or self.evaluation is None:
            return True
        return self._dense_accuracy - share_correct(model, self.evaluation) <= allowed + _ROUNDING

    @cached_property
    def _dense_accuracy(self) -> float:
        return share_correct(self.search.compilation.model, self.evaluation or {})

    def _score_again(self, plan: PruningPlan, model: Model) -> None:
        """Let the search go by the scores of what is left, and remove no less from now on."""
        compilation, settings = self.search.compilation, self.search.settings
        labelling = compilation.channels.labelling
        left = find_channels(model.module, attention=labelling.attention, keep=settings.keep)
        scoring = score(model, left, self.calibration, replace(settings, bounds={}))
        self.search.use(narrowed(compilation, plan, left, scoring))


def check_settings(settings: Settings, has_evaluation: bool) -> None:
    """Tell what is wrong with steps, thresholds and accuracies before the long work begins.

    Raises:
        BudgetError: if a value is out of range or missing.
        DataError: if an accuracy is to be watched, but there is nothing to tell it from.
        PruneError: if a threshold is out of range.
    """
    Thresholds(settings.threshold, settings.relative_threshold)
    if settings.steps < 1:
        raise BudgetError(f"The number of steps is {settings.steps}, but it must be at least 1.")
    drop = settings.max_accuracy_drop
    if settings.objective == "accuracy" and drop is None:
        raise BudgetError(
            "The objective 'accuracy' needs the largest drop that is allowed "
            "(--max-accuracy-drop 0.02 is two points)."
        )
    if drop is None:
        return
    if not 0 <= drop < 1:
        raise BudgetError(
            f"The largest accuracy drop is {drop}, but it must be at least 0 and below 1; two "
            "points are 0.02."
        )
    if not has_evaluation:
        raise DataError("A largest accuracy drop needs labelled samples to tell it (--eval).")


def is_accurate(result: PruneResult, settings: Settings) -> bool:
    """Whether a delivered model is within the drop that is allowed."""
    allowed, dense, pruned = settings.max_accuracy_drop, result.dense_accuracy, result.accuracy
    known = allowed is not None and dense is not None and pruned is not None
    return not known or float(dense or 0) - float(pruned or 0) <= float(allowed or 0) + _ROUNDING


def checked_accuracy(result: PruneResult, settings: Settings) -> PruneResult:
    """The result.

    Raises:
        BudgetError: if its accuracy is not within the drop that is allowed.
    """
    if is_accurate(result, settings):
        return result
    dense, pruned = float(result.dense_accuracy or 0), float(result.accuracy or 0)
    raise BudgetError(
        f"The model within the budget {result.budget} has an accuracy of {pruned:.2%}, "
        f"{(dense - pruned) * 100:.2f} points below the dense one, but "
        f"{float(settings.max_accuracy_drop or 0) * 100:g} are allowed. Give a looser budget, or "
        "let --objective accuracy find it; --steps goes back to the last step that was good enough."
    )


def looser(budgets: Budgets, dense: Costs) -> Budgets:
    """Budgets a quarter of the way nearer to what the dense model costs."""
    rows = (
        Budget(name, amount=bound + (max(dense[name], bound) - bound) / 4)
        for name, bound in budgets.bounds(dense).items()
    )
    return Budgets(tuple(rows))


def schedule(name: str, progress: float) -> float:
    """Share of the way that the budgets have gone, 0..1, after a share of the steps."""
    return 1.0 - (1.0 - progress) ** CUBIC if name == "polynomial" else progress


def share_correct(model: Model, data: Arrays) -> float:
    """Accuracy of a model in ONNX Runtime on labelled data, 0..1."""
    logits = reference_outputs(model, data)[0]
    classes = logits.reshape(len(logits), -1).argmax(axis=1)
    return float((classes == data[LABEL][: len(logits)]).mean())


def narrowed(
    compilation: Compilation, plan: PruningPlan, left: Channels, scoring: Scoring
) -> Compilation:
    """A compilation that goes by scores of a pruned model.

    Args:
        compilation: the dense model's.
        plan: what the pruned model kept of it.
        left: groups of the pruned model.
        scoring: its scores.

    Returns:
        The same with those scores for the units that are left, zero for the others, and no group
        wider than it is now. A group of one unit that is left is none any more, and stays.
    """
    groups = compilation.channels.groups
    scores = [_kept(group, plan) for group in groups]
    limits = [(int(score.sum()), int(score.sum())) for score in scores]
    shares = [np.ones(group.width + 1) for group in groups]
    for group in left.groups:
        index, units = _ancestor(groups, plan, group)
        scores[index][units] = scoring.scores[group.index] + 1e-12
        lowest = compilation.limits[index][0]
        limits[index] = (lowest, max(lowest, min(scoring.limits[group.index][1], len(units))))
        if scoring.shares:
            shares[index][: group.width + 1] = scoring.shares[group.index]
    return replace(
        compilation,
        scores=scores,
        limits=tuple(limits),
        shares=shares if scoring.shares else (),
    )


def _kept(group: ChannelGroup, plan: PruningPlan) -> NDArray[np.float64]:
    """One for every unit of a group that a plan keeps, zero for the others."""
    entry = group.slices[0]
    indices = plan.kept.get(entry.parameter, {}).get(entry.axis)
    stays = entry.positions if indices is None else np.array(indices)
    kept = np.zeros(group.width)
    kept[entry.units[np.isin(entry.positions, stays)]] = 1.0
    return kept


def _ancestor(
    groups: tuple[ChannelGroup, ...], plan: PruningPlan, group: ChannelGroup
) -> tuple[int, NDArray[np.int64]]:
    """The dense group that a group of the pruned model comes from, and its units that are left."""
    entry = group.slices[0]
    indices = plan.kept.get(entry.parameter, {}).get(entry.axis)
    positions = entry.positions if indices is None else np.array(indices)[entry.positions]
    for dense in groups:
        for own in dense.slices:
            if (own.parameter, own.axis) == (entry.parameter, entry.axis) and np.isin(
                positions, own.positions
            ).all():
                unit_at = dict(zip(own.positions.tolist(), own.units.tolist(), strict=True))
                units = np.zeros(group.width, dtype=np.int64)
                units[entry.units] = [unit_at[position] for position in positions.tolist()]
                return dense.index, units
    raise BudgetError(f"Group '{group.name}' of the pruned model was not there before.")
