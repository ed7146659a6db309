"""What the accuracy benchmark compares: ways of pruning a network to a measured latency."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import tvm_prune.torch
from benchmarks.accuracy_networks import Data
from benchmarks.equal_latency import widest_within
from tvm_prune.budget import Budgets
from tvm_prune.delivery import is_near
from tvm_prune.deployment import recovered
from tvm_prune.frontend import load
from tvm_prune.latency import Widths
from tvm_prune.plan import PruningPlan
from tvm_prune.result import PruneResult
from tvm_prune.transform import prune_parameters
from tvm_prune.whole_models import pooled
from tvm_prune.workflow import Run

CRITERIA = ("magnitude", "bn_scale", "taylor", "fpgm")
OURS, RIVAL = "ours", "torch_pruning"
ROUND_TO = 8

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of a module's parameters, by name."""

Ratios = dict[tuple[Shapes, float], float]
"""What was measured, by the shapes of a module and the bound that it was measured for."""

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
        ratios: what was measured already, by the shapes of a module's parameters and the bound:
            modules that differ in their weights alone are as fast as each other.
        results: what the product delivered already, by the latency ratio asked for.
    """

    network: Any
    data: Data
    run: Run
    seed: int
    ratios: Ratios
    results: dict[float, PruneResult] = field(default_factory=dict)

    @property
    def example(self) -> Any:
        """One image."""
        return torch.from_numpy(self.data.test.images[:1])

    def ratio(self, module: Any, bound: float) -> float:
        """Measured latency of a pruned module over that of the dense network, in turns.

        Near the bound it is measured twice, as what the product delivers is.
        """
        shapes = tuple((name, tuple(value.shape)) for name, value in module.state_dict().items())
        if (shapes, bound) not in self.ratios:
            self.ratios[shapes, bound] = self._measured_ratio(module, bound)
        return self.ratios[shapes, bound]

    def _measured_ratio(self, module: Any, bound: float) -> float:
        models, path = self.run.search.models, self.run.search.folder / "subject.so"
        models.compile(load(module, example=(self.example,)), path)
        libraries = [models.build(self.run.search.compilation.dense), path]
        dense, pruned = models.measure(libraries)
        if is_near(pruned, bound * dense.median):
            dense, pruned = pooled([dense, pruned], models.measure(libraries))
        return pruned.median / dense.median

    def result(self, ratio: float) -> PruneResult:
        """What the product delivers within a latency ratio."""
        if ratio not in self.results:
            self.results[ratio] = self.run.prune(Budgets.parse(latency=f"{ratio}x"))
        return self.results[ratio]

    def module(self, plan: PruningPlan, values: Any) -> Any:
        """The dense module pruned by a plan, with weights of its own."""
        module = tvm_prune.torch.prune_module(copy.deepcopy(self.network), plan)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
        module.load_state_dict(tensors, strict=False)
        return module.eval()


def ours(subject: Subject, ratio: float) -> Pruned:
    """The product's default."""
    result = subject.result(ratio)
    return subject.module(result.plan, result.model.parameters), result.latency_ratio


def ours_without_recovery(subject: Subject, ratio: float) -> Pruned:
    """The same plan, its weights as they are in the dense network."""
    result = subject.result(ratio)
    values = prune_parameters(subject.run.search.compilation.model.parameters, result.plan)
    return subject.module(result.plan, values), result.latency_ratio


def uniform(subject: Subject, ratio: float) -> Pruned:
    """Every group keeps the same share of its units, recovered."""
    dense = subject.run.search.compilation.dense
    return _recovered(
        subject, ratio, lambda share: tuple(max(1, round(width * share)) for width in dense)
    )


def by_macs(subject: Subject, ratio: float) -> Pruned:
    """A budget of multiply-accumulates in place of latency, recovered."""
    search = subject.run.search
    dense = search.counts["macs"].at(search.compilation.dense)
    return _recovered(
        subject,
        ratio,
        lambda share: search.predicted_widths({"macs": share * dense, "latency": np.inf}),
    )


def _recovered(subject: Subject, ratio: float, at: Callable[[float], Widths]) -> Pruned:
    """The widest of a family of widths, recovered as ours is."""
    search = subject.run.search

    def measured(widths: Widths) -> float:
        plan = search.compilation.plan(widths)
        values = prune_parameters(search.compilation.model.parameters, plan)
        return subject.ratio(subject.module(plan, values), ratio)

    widths, latency = widest_within(ratio, at, measured)
    plan, model = recovered(search, widths, subject.data.calibration)
    return subject.module(plan, model.parameters), latency


def torch_pruning(subject: Subject, ratio: float, criterion: str, is_global: bool) -> Pruned:
    """Torch-Pruning with one criterion, its weights as they are."""

    def at(share: float) -> Any:
        return _torch_pruned(subject, criterion, 1.0 - share, is_global)

    return widest_within(ratio, at, lambda module: subject.ratio(module, ratio))


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


def sides() -> dict[str, Callable[[Subject, float], Pruned]]:
    """What is compared, by name."""
    table: dict[str, Callable[[Subject, float], Pruned]] = {
        OURS: ours,
        "ours_without_recovery": ours_without_recovery,
        "by_macs": by_macs,
        "uniform": uniform,
    }
    for criterion in CRITERIA:
        for scope in ("local", "global"):
            table[f"{RIVAL}_{criterion}_{scope}"] = _torch_side(criterion, scope == "global")
    return table


def _torch_side(criterion: str, is_global: bool) -> Callable[[Subject, float], Pruned]:
    return lambda subject, ratio: torch_pruning(subject, ratio, criterion, is_global)
