"""How what single groups lose makes up what a network loses, and which widths are best by that.

    python -m benchmarks.sensitivity [--architectures resnet8] [--seeds 0 1 2] [--cache CACHE]

The networks are those of the accuracy benchmark, recovered with its calibration images.

*Together.* Networks are pruned to random widths. What they lose as a whole, on the test images, is
compared with the p-norms of what the sensitivity curves say that their groups lose: the standard
deviation of its logarithm about that of the norm, whatever the scale. p is 1 where losses add up,
as the planner has it, and 0.5 where their roots do.

*At equal work.* The exact solver chooses widths for a share of the multiply-accumulates, once where
the sum of the losses is least, once where that of their roots is: accuracy on all test images.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_networks import ARCHITECTURES, Data, Training, train_all, trainings
from benchmarks.one_a_core import one_a_core
from benchmarks.results_file import circumstances, write_results
from tvm_prune.channels import Channels
from tvm_prune.compilation import Compilation
from tvm_prune.frontend import load
from tvm_prune.latency import LatencyModel, ModelError, Widths
from tvm_prune.latency.intervals import Intervals
from tvm_prune.model import Array, Model
from tvm_prune.planner import COUNTS, ByWork, Problem
from tvm_prune.recover import reconstruct
from tvm_prune.scoring import Scoring, prunable_channels, score
from tvm_prune.sensitivity import output_loss
from tvm_prune.settings import Settings, default_cache
from tvm_prune.verification import reference_outputs

POWERS = (0.25, 0.4, 0.5, 0.6, 0.8, 1.0)
SHARES = (0.5, 0.3, 0.2)
"""Of the multiply-accumulates."""
NARROWEST, WIDEST, AROUND = 0.35, 0.85, 0.25
"""Share of a network that random widths keep, and how far its groups are from that at most."""
OBJECTIVES = LOSSES, ROOTS = ("losses", "roots")

Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A trained network, its units scored.

    Attributes:
        model: dense.
        data: what it is recovered and judged with.
        channels: its groups.
        scoring: importance of units, and sensitivity of groups.
    """

    model: Model
    data: Data
    channels: Channels
    scoring: Scoring

    @classmethod
    def of(cls, training: Training) -> Subject:
        """The network that a training left."""
        data = Data(training.seed)
        example = (torch.from_numpy(data.test.images[:1]),)
        model = load(training.network(), example=example)
        settings = Settings(seed=training.seed)
        channels = prunable_channels(model, settings)
        return cls(model, data, channels, score(model, channels, data.calibration, settings))

    @cached_property
    def losses(self) -> list[NDArray[np.float64]]:
        """What each group loses at every width, the others dense."""
        return [1.0 / np.asarray(shares) - 1.0 for shares in self.scoring.shares]

    @cached_property
    def outputs(self) -> list[Array]:
        """Of the dense network for the test images."""
        return self._outputs_of(self.model)

    @cached_property
    def dense_accuracy(self) -> float:
        """Share of the test images that the dense network classifies right."""
        return self._accuracy(self.outputs)

    @cached_property
    def compilation(self) -> Compilation:
        """The network at any widths; it is not compiled for any board."""
        scores, limits = self.scoring.scores, self.scoring.limits
        return Compilation(self.model, self.channels, scores, limits, None)

    def recovered(self, widths: Widths) -> Model:
        """The network at some widths, what is left refitted to the calibration images."""
        plan = self.compilation.plan(widths)
        values = reconstruct(self.model, plan, self.data.calibration)
        return self.compilation.pruned(plan, values)

    def worth(self, widths: Widths) -> Row:
        """Of the network at some widths: its loss and its accuracy on the test images."""
        outputs = self._outputs_of(self.recovered(widths))
        return {"loss": output_loss(self.outputs, outputs), "accuracy": self._accuracy(outputs)}

    def _outputs_of(self, model: Model) -> list[Array]:
        return reference_outputs(model, {"x": self.data.test.images})

    def _accuracy(self, outputs: Sequence[Array]) -> float:
        return float((outputs[0].argmax(axis=1) == self.data.test.labels).mean())


def rows_of(training: Training, plans: int) -> list[Row]:
    """All rows of one network.

    Args:
        training: tells where it is.
        plans: how many random widths it is pruned to.
    """
    torch.set_num_threads(1)
    subject = Subject.of(training)
    rows = [*_together(subject, training.seed, plans), *_at_equal_work(subject)]
    told = {"architecture": training.name, "seed": training.seed, "circumstances": circumstances()}
    return [told | row for row in rows]


def _together(subject: Subject, seed: int, plans: int) -> list[Row]:
    """Random widths, what the groups lose alone, and what the network loses."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(plans):
        share = generator.uniform(NARROWEST, WIDEST)
        widths = tuple(
            int(np.clip(round(high * generator.uniform(share - AROUND, share + AROUND)), low, high))
            for low, high in subject.scoring.limits
        )
        losses = [float(loss[width]) for loss, width in zip(subject.losses, widths, strict=True)]
        told = {"experiment": "together", "widths": widths, "losses": losses}
        rows.append(told | subject.worth(widths))
    return rows


def _at_equal_work(subject: Subject) -> list[Row]:
    """Widths for a share of the work by either objective, and what they are worth."""
    macs = COUNTS["macs"](subject.model, subject.channels)
    limits, dense = subject.scoring.limits, subject.compilation.dense
    by_work = ByWork(macs, [range(low, high + 1) for low, high in limits])
    rows = []
    for share, objective in itertools.product(SHARES, OBJECTIVES):
        noise = subject.losses if objective == LOSSES else map(np.sqrt, subject.losses)
        curves = [1.0 / (1.0 + each) for each in noise]
        problem = Problem(
            _no_kernels(), dense, by_work.candidates, subject.scoring.scores, 0.0, curves=curves
        )
        widths = by_work.plan(problem, share * macs.at(dense)).widths
        told = {
            "experiment": "equal work", "share": share, "objective": objective, "widths": widths,
            "macs_share": macs.at(widths) / macs.at(dense),
            "dense_accuracy": subject.dense_accuracy,
        }  # fmt: skip
        rows.append(told | subject.worth(widths))
    return rows


def _no_kernels() -> LatencyModel:
    """Predicts no latency: work alone is bounded."""
    unknown = ModelError(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    return LatencyModel((), None, (), {}, "seconds", unknown, Intervals(math.inf, {}, 0.0, {}))


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """The summary: scatter by power, means over networks; leads of the roots over the losses."""
    figures = {}
    networks = _by_network(rows, "together").values()
    for power in POWERS if networks else ():
        spreads = [scatter(own, power) for own in networks]
        name = f"scatter_percent_power_{power:g}".replace(".", "_")
        figures[name] = 100 * statistics.mean(spreads)
    for share in SHARES:
        leads = _leads([row for row in rows if row.get("share") == share])
        if not leads:
            continue
        name = f"accuracy_lead_points_{share:g}".replace(".", "_")
        figures[name] = statistics.mean(leads)
        if len(leads) > 1:
            figures[f"{name}_error"] = statistics.stdev(leads) / len(leads) ** 0.5
    return figures


def scatter(rows: Sequence[Row], power: float) -> float:
    """Standard deviation of the logarithm of the loss about that of a norm of its parts."""
    norms = [math.log(sum(part**power for part in row["losses"])) / power for row in rows]
    return statistics.stdev(
        math.log(row["loss"]) - norm for row, norm in zip(rows, norms, strict=True)
    )


def _leads(rows: Sequence[Row]) -> list[float]:
    """By how many points of accuracy the roots lead, network by network."""
    by_objective: dict[str, list[float]] = {
        name: [row["accuracy"] for row in rows if row["objective"] == name] for name in OBJECTIVES
    }
    pairs = zip(by_objective[ROOTS], by_objective[LOSSES], strict=True)
    return [100 * (roots - losses) for roots, losses in pairs]


def _by_network(rows: Sequence[Row], experiment: str) -> Mapping[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["experiment"] == experiment:
            found.setdefault((row["architecture"], row["seed"]), []).append(row)
    return found


def _print(rows: Sequence[Row], figures: Mapping[str, float]) -> None:
    together = Table("network", "seed", *(f"p = {power:g}" for power in POWERS))
    for (name, seed), own in _by_network(rows, "together").items():
        cells = [f"{100 * scatter(own, power):.1f} %" for power in POWERS]
        together.add_row(name, str(seed), *cells)
    equal = Table("network", "seed", "dense", *(f"{s:g}x, {o}" for s in SHARES for o in OBJECTIVES))
    for (name, seed), own in _by_network(rows, "equal work").items():
        cells = [f"{row['accuracy']:.2%}" for row in own]
        equal.add_row(name, str(seed), f"{own[0]['dense_accuracy']:.2%}", *cells)
    console = Console()
    console.print(together, equal)
    for name, figure in figures.items():
        console.print(f"{name}: {figure:.3g}")


def main() -> None:
    """Train what is not trained, prune; print the tables and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plans", type=int, default=20, help="random widths of each network")
    parser.add_argument("--train-epochs", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--output", type=Path, help="another file to write")
    options = parser.parse_args()
    networks = list(
        trainings(options.architectures, options.seeds, options.train_epochs, options.cache)
    )
    for trained in train_all(networks):
        print(f"trained {trained.name} from seed {trained.seed}", flush=True)
    found: dict[int, list[Row]] = {}
    for place, rows in one_a_core(partial(rows_of, plans=options.plans), networks):
        found[place] = rows
        print(f"pruned {networks[place].name} of seed {networks[place].seed}", flush=True)
    rows = [row for place in sorted(found) for row in found[place]]
    figures = figures_of(rows)
    write_results("sensitivity", figures, rows, options.output)
    _print(rows, figures)


if __name__ == "__main__":
    main()
