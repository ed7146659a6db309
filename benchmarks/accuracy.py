"""Accuracy at equal measured latency: ours, parts of ours, and Torch-Pruning, before and after a
fine-tune.

    python -m benchmarks.accuracy [--architectures resnet8] [--seeds 1] [--ratios 0.5] ...

All sides are compiled with the same schedules and measured in turns with the dense network. Each is
as wide as the latency allows: what a side calls its amount (a budget, a share of the channels, a
pruning ratio) is found by bisection on measured latency.
"""  # noqa: D205

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tvm_prune.torch
from benchmarks.accuracy_networks import ARCHITECTURES, Batches, Data, share_correct, trained
from benchmarks.results_file import write_results
from tvm_prune import Settings
from tvm_prune.budget import Budgets
from tvm_prune.console import ConsoleProgress
from tvm_prune.deployment import recovered
from tvm_prune.errors import BudgetError
from tvm_prune.frontend import load
from tvm_prune.plan import PruningPlan
from tvm_prune.settings import default_cache
from tvm_prune.workflow import Run, started

CRITERIA = ("magnitude", "bn_scale", "taylor", "fpgm")
ROUND_TO = 8
BISECTIONS = 6
CLOSE_ENOUGH = 0.97

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
    low, high, best = 0.05, 1.0, None
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        module = at(share)
        measured = subject.ratio(module)
        if measured <= ratio:
            low, best = share, (module, measured)
            if measured >= CLOSE_ENOUGH * ratio:
                break
        else:
            high = share
    if best is None:
        raise BudgetError(f"Nothing was measured within {ratio}x.")
    return best


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
            table[f"torch_pruning_{criterion}_{scope}"] = _torch_side(criterion, scope == "global")
    return table


def _torch_side(criterion: str, is_global: bool) -> Callable[[Subject, float], Pruned]:
    return lambda subject, ratio: torch_pruning(subject, ratio, criterion, is_global)


def rows_of(
    subject: Subject, name: str, ratios: Sequence[float], epochs: int, chosen: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The chosen sides at every ratio, failures included."""
    dense = share_correct(subject.network, subject.data.test)
    for ratio in ratios:
        for side in chosen:
            prune = sides()[side]
            row = {"architecture": name, "seed": subject.seed, "ratio": ratio, "side": side,
                   "dense_accuracy": dense}  # fmt: skip
            try:
                module, measured = prune(subject, ratio)
            except Exception as error:  # a failure of any side is a row
                yield {**row, "failure": f"{type(error).__name__}: {error}"[:300]}
                continue
            before = share_correct(module, subject.data.test)
            after = None
            if epochs:
                batches = Batches(subject.data.training, subject.seed)
                tvm_prune.torch.finetune(module, batches, epochs=epochs)
                after = share_correct(module, subject.data.test)
            yield {**row, "measured_ratio": measured, "accuracy": before, "finetuned": after}


def figures_of(rows: Sequence[dict[str, Any]], half: float = 0.5) -> dict[str, float]:
    """The summary: medians over the seeds."""
    found: dict[str, float] = {}
    good = [row for row in rows if "failure" not in row]
    drops, leads, finetuned = [], [], []
    for name, ratio in sorted({(row["architecture"], row["ratio"]) for row in good}):
        own = [r for r in good if (r["architecture"], r["ratio"]) == (name, ratio)]
        seeds = sorted({row["seed"] for row in own})
        every = [_pair([row for row in own if row["seed"] == seed]) for seed in seeds]
        pairs = [pair for pair in every if pair is not None]
        if not pairs:
            continue
        label = f"{name}_{ratio:g}".replace(".", "_")
        for key in ("drop", "lead", "finetuned_lead"):
            values = [100 * pair[key] for pair in pairs if key in pair]
            if values:
                found[f"{key}_points_{label}"] = statistics.median(values)
                found[f"{key}_spread_{label}"] = max(values) - min(values)
        if ratio == half:
            drops.append(found[f"drop_points_{label}"])
            leads.append(found[f"lead_points_{label}"])
        if f"finetuned_lead_points_{label}" in found:
            finetuned.append(found[f"finetuned_lead_points_{label}"])
    if drops:
        found["drop_points_worst_at_half"] = max(drops)
        found["lead_over_torch_pruning_points_at_half"] = min(leads)
    if finetuned:
        found["finetuned_lead_points_worst"] = min(finetuned)
    return found


def _pair(rows: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Ours against the best of Torch-Pruning, for one network and ratio."""
    mine = next((row for row in rows if row["side"] == "ours"), None)
    others = [row for row in rows if row["side"].startswith("torch_pruning")]
    if mine is None or not others:
        return None
    pair = {
        "drop": mine["dense_accuracy"] - mine["accuracy"],
        "lead": mine["accuracy"] - max(row["accuracy"] for row in others),
    }
    if mine["finetuned"] is not None:
        pair["finetuned_lead"] = mine["finetuned"] - max(row["finetuned"] for row in others)
    return pair


def main() -> None:
    """Train, prune with all sides, fine-tune; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.75, 0.5, 0.33])
    parser.add_argument("--sides", nargs="+", choices=list(sides()), default=list(sides()))
    parser.add_argument("--samples", type=int, default=Settings().samples)
    parser.add_argument("--train-epochs", type=int, default=8)
    parser.add_argument("--finetune-epochs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=Settings().trials)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--results", type=Path, help="another file to write")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.architectures:
        for seed in range(options.seeds):
            data = Data(seed)
            folder = options.cache / "benchmark-networks"
            network = trained(name, seed, options.train_epochs, data, folder)
            settings = Settings(
                trials=options.trials, samples=options.samples, seed=seed, cache=options.cache
            )
            model = load(network, example=(torch.from_numpy(data.test.images[:1]),))
            with started(
                model, "host", calibration=data.calibration, settings=settings,
                progress=ConsoleProgress(),
            ) as run:  # fmt: skip
                subject = Subject(network, data, run, seed)
                for row in rows_of(
                    subject, name, options.ratios, options.finetune_epochs, options.sides
                ):
                    rows.append(row)
                    write_results("accuracy", figures_of(rows), rows, options.results)
    _show(rows)


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("network", "seed", "budget", "side", "latency", "accuracy", "fine-tuned", "dense")
    for row in rows:
        if "failure" in row:
            cells = ["", row["failure"], ""]
        else:
            tuned = "" if row["finetuned"] is None else f"{row['finetuned']:.2%}"
            cells = [f"{row['measured_ratio']:.3f}x", f"{row['accuracy']:.2%}", tuned]
        table.add_row(
            row["architecture"], str(row["seed"]), f"{row['ratio']:g}x", row["side"], *cells,
            f"{row['dense_accuracy']:.2%}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for name, value in figures_of(rows).items():
        console.print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
