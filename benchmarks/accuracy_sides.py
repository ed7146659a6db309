"""What the accuracy benchmark compares: ways of pruning a network to a measured latency."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import tvm_prune.torch
from benchmarks.accuracy_networks import Data
from tvm_prune.budget import Budgets
from tvm_prune.deployment import recovered
from tvm_prune.errors import BudgetError
from tvm_prune.frontend import load
from tvm_prune.plan import PruningPlan
from tvm_prune.workflow import Run

CRITERIA = ("magnitude", "bn_scale", "taylor", "fpgm")
RIVAL = "torch_pruning"
ROUND_TO = 8
MOST_TRIES = 6
CLOSE_ENOUGH = 0.97
AIM = 0.985
"""Share of the bound to try for."""
_MARGIN = 0.1
"""Share of what is left between two tries that the next one stays away from either."""

Pruned = tuple[Any, float]
"""A pruned module, and its measured latency over that of the dense network."""


@dataclass(frozen=True)
class Subject:
    """A trained network on the board.

    Attributes:
        network: the dense module.
        data: what it was trained on, and what it is judged by.
        run: tuned and fitted.
        seed: seed of everything random.
    """

    network: Any
    data: Data
    run: Run
    seed: int

    @property
    def example(self) -> Any:
        """One image."""
        return torch.from_numpy(self.data.test.images[:1])

    def ratio(self, module: Any) -> float:
        """Measured latency of a pruned module over that of the dense network, in turns."""
        search = self.run.search
        path = search.folder / "subject.so"
        model = load(module, example=(self.example,))
        search.models.compile(model, path)
        dense, pruned = search.models.measure([search.models.build(search.compilation.dense), path])
        return pruned.median / dense.median

    def module(self, plan: PruningPlan, values: Any) -> Any:
        """The dense module pruned by a plan, with weights of its own."""
        module = tvm_prune.torch.prune_module(copy.deepcopy(self.network), plan)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
        module.load_state_dict(tensors, strict=False)
        return module.eval()


def ours(subject: Subject, ratio: float, *, recover: bool = True) -> Pruned:
    """The product's default."""
    search = subject.run.search
    settings = search.settings
    search.settings = replace(settings, recover=recover)
    try:
        result = subject.run.prune(Budgets.parse(latency=f"{ratio}x"))
    finally:
        search.settings = settings
    return subject.module(result.plan, result.model.parameters), result.latency_ratio


def uniform(subject: Subject, ratio: float) -> Pruned:
    """Every group keeps the same share of its units, recovered."""
    search = subject.run.search

    def at(share: float) -> Any:
        widths = tuple(max(1, round(width * share)) for width in search.compilation.dense)
        return subject.module(*_recovered(subject, widths))

    return fastest_above(subject, ratio, at)


def by_macs(subject: Subject, ratio: float) -> Pruned:
    """A budget of multiply-accumulates in place of latency, recovered."""
    search = subject.run.search

    def at(share: float) -> Any:
        dense = search.counts["macs"].at(search.compilation.dense)
        widths = search.predicted_widths({"macs": share * dense, "latency": np.inf})
        return subject.module(*_recovered(subject, widths))

    return fastest_above(subject, ratio, at)


def _recovered(subject: Subject, widths: tuple[int, ...]) -> tuple[PruningPlan, Any]:
    plan, model = recovered(subject.run.search, widths, subject.data.calibration)
    return plan, model.parameters


def torch_pruning(subject: Subject, ratio: float, criterion: str, is_global: bool) -> Pruned:
    """Torch-Pruning with one criterion, its weights as they are."""

    def at(share: float) -> Any:
        return _torch_pruned(subject, criterion, 1.0 - share, is_global)

    return fastest_above(subject, ratio, at)


def _torch_pruned(subject: Subject, criterion: str, amount: float, is_global: bool) -> Any:
    import torch_pruning

    importance = {
        "magnitude": torch_pruning.importance.GroupMagnitudeImportance,
        "bn_scale": torch_pruning.importance.BNScaleImportance,
        "taylor": torch_pruning.importance.GroupTaylorImportance,
        "fpgm": torch_pruning.importance.FPGMImportance,
    }[criterion]()
    module = copy.deepcopy(subject.network)
    pruner = torch_pruning.pruner.BasePruner(
        module,
        subject.example,
        importance=importance,
        pruning_ratio=amount,
        global_pruning=is_global,
        max_pruning_ratio=0.9,
        round_to=ROUND_TO,
        ignored_layers=[module.dense],
    )
    if criterion == "taylor":
        images, labels = subject.data.held_out.images, subject.data.held_out.labels
        logits = module(torch.from_numpy(images))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    pruner.step()
    module.zero_grad(set_to_none=True)
    return module.eval()


def fastest_above(subject: Subject, ratio: float, at: Callable[[float], Any]) -> Pruned:
    """The widest module within a latency ratio.

    Args:
        subject: the network.
        ratio: bound on the measured latency over the dense one's.
        at: the module that keeps about a share, 0..1, of what the side counts.
    """
    low, high, best = (0.05, 0.0), (1.0, 1.0), None
    for _ in range(MOST_TRIES):
        share = _between(low, high, AIM * ratio)
        module = at(share)
        measured = subject.ratio(module)
        if measured <= ratio:
            low, best = (share, measured), (module, measured)
            if measured >= CLOSE_ENOUGH * ratio:
                break
        else:
            high = (share, measured)
    if best is None:
        raise BudgetError(f"Nothing was measured within {ratio}x.")
    return best


def _between(low: tuple[float, float], high: tuple[float, float], aim: float) -> float:
    """A share between two, where the latency ratio should be what is aimed at.

    Args:
        low: a share, and a ratio below the aim.
        high: a share, and a ratio above it.
        aim: the ratio.
    """
    way = (aim - low[1]) / (high[1] - low[1])
    return low[0] + min(max(way, _MARGIN), 1 - _MARGIN) * (high[0] - low[0])


def sides() -> dict[str, Callable[[Subject, float], Pruned]]:
    """What is compared, by name."""
    table: dict[str, Callable[[Subject, float], Pruned]] = {
        "ours": ours,
        "ours_without_recovery": lambda subject, ratio: ours(subject, ratio, recover=False),
        "by_macs": by_macs,
        "uniform": uniform,
    }
    for criterion in CRITERIA:
        for scope in ("local", "global"):
            table[f"{RIVAL}_{criterion}_{scope}"] = _torch_side(criterion, scope == "global")
    return table


def _torch_side(criterion: str, is_global: bool) -> Callable[[Subject, float], Pruned]:
    return lambda subject, ratio: torch_pruning(subject, ratio, criterion, is_global)
