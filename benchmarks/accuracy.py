"""Accuracy at equal measured latency: ours, parts of ours, and Torch-Pruning, before and after a
fine-tune.

    python -m benchmarks.accuracy [--architectures resnet8] [--seeds 1] [--ratios 0.5] ...

All sides are compiled with the same schedules and measured in turns with the dense network. Each is
as wide as the latency allows: what a side calls its amount (a budget, a share of the channels, a
pruning ratio) is found by measuring. Of Torch-Pruning's criteria the one that
is best on the test images counts, and is fine-tuned.

All are pruned before any is fine-tuned. Rows that the results file holds already are not made
again, so an interrupted run goes on.
"""  # noqa: D205

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_finetuning import Pupil, finetuned, keep
from benchmarks.accuracy_networks import ARCHITECTURES, Data, share_correct, trained
from benchmarks.accuracy_sides import RIVAL, Shapes, Subject, sides
from benchmarks.results_file import circumstances, stored_rows, write_results
from tvm_prune import Settings
from tvm_prune.console import ConsoleProgress
from tvm_prune.frontend import load
from tvm_prune.settings import default_cache
from tvm_prune.workflow import started

STAGES = PRUNE, FINETUNE = ("prune", "finetune")


def rows_of(
    subject: Subject, ratio: float, chosen: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Any]]:
    """The chosen sides at one ratio, and their networks, failures included (of None)."""
    for side in chosen:
        try:
            network, measured = sides()[side](subject, ratio)
        except Exception as error:  # a failure of any side is a row
            yield {"side": side, "failure": f"{type(error).__name__}: {error}"[:300]}, None
            continue
        accuracy = share_correct(network, subject.data.test)
        told = {"side": side, "measured_ratio": measured, "accuracy": accuracy, "finetuned": None}
        yield told, network


def to_finetune(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose networks have yet to be fine-tuned; those that figures are made of come first.

    Of Torch-Pruning it is the one that is best without.
    """
    good = [row for row in rows if "failure" not in row]
    rivals = sorted((row for row in good if _is_rival(row)), key=lambda row: float(row["accuracy"]))
    best = {(row["architecture"], row["seed"], row["ratio"]): row for row in rivals}
    chosen = [
        *(row for row in good if row["side"] == "ours"),
        *best.values(),
        *(row for row in good if row["side"] != "ours" and not _is_rival(row)),
    ]
    return [row for row in chosen if row["finetuned"] is None]


def _is_rival(row: dict[str, Any]) -> bool:
    return bool(row["side"].startswith(RIVAL))


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
    others = [row for row in rows if _is_rival(row)]
    if mine is None or not others:
        return None
    pair = {
        "drop": mine["dense_accuracy"] - mine["accuracy"],
        "lead": mine["accuracy"] - max(row["accuracy"] for row in others),
    }
    trained = [row["finetuned"] for row in others if row["finetuned"] is not None]
    if mine["finetuned"] is not None and trained:
        pair["finetuned_lead"] = mine["finetuned"] - max(trained)
    return pair


def main() -> None:
    """Train, prune with all sides, fine-tune; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.75, 0.5, 0.33])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--sides", nargs="+", choices=list(sides()), default=list(sides()))
    parser.add_argument("--samples", type=int, default=Settings().samples)
    parser.add_argument("--train-epochs", type=int, default=4)
    parser.add_argument("--finetune-epochs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=Settings().trials)
    parser.add_argument("--board", default="host")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--results", type=Path, help="another file to write")
    options = parser.parse_args()
    rows = stored_rows("accuracy", options.results)
    if PRUNE in options.stages:
        ratios: dict[str, dict[Shapes, float]] = {name: {} for name in options.architectures}
        for seed, name in itertools.product(range(options.seeds), options.architectures):
            for row in _new_rows(name, seed, rows, ratios[name], options):
                rows.append(row)
                write_results("accuracy", figures_of(rows), rows, options.results)
    if FINETUNE in options.stages:
        for row in _finetuned_rows(rows, options):
            print(f"{_place(row)}: {row['finetuned']:.2%} after fine-tuning", flush=True)
            write_results("accuracy", figures_of(rows), rows, options.results)
    _show(rows)


def _finetuned_rows(
    rows: Sequence[dict[str, Any]], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Fine-tune what was pruned with this cache; each row when its accuracy is filled in."""
    folder = _networks(options)
    paths = [(row, folder / _place(row)) for row in to_finetune(rows) if row["finetune_epochs"]]
    found = [(row, path) for row, path in paths if path.exists()]
    pupils = [Pupil(path, row["seed"], row["finetune_epochs"]) for row, path in found]
    for place, accuracy in finetuned(pupils):
        row, _ = found[place]
        row["finetuned"] = accuracy
        yield row


def _networks(options: argparse.Namespace) -> Path:
    """Where networks are kept between runs."""
    folder: Path = options.cache / "benchmark-networks"
    return folder


def _place(row: dict[str, Any]) -> str:
    """Where a pruned network is kept, below the folder of networks."""
    return f"{row['architecture']}-{row['seed']}/{row['ratio']:g}-{row['side']}.pt"


def _new_rows(
    name: str, seed: int, known: Sequence[dict[str, Any]], ratios: dict[Shapes, float],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of one network that are not known yet."""
    conditions = {
        "architecture": name, "seed": seed, "board": options.board, "trials": options.trials,
        "train_epochs": options.train_epochs, "finetune_epochs": options.finetune_epochs,
    }  # fmt: skip
    missing = {
        ratio: [side for side in options.sides if not _is_known(known, conditions, ratio, side)]
        for ratio in options.ratios
    }
    if not any(missing.values()):
        return
    data = Data(seed)
    network = trained(name, seed, options.train_epochs, data, _networks(options))
    dense = share_correct(network, data.test)
    settings = Settings(
        trials=options.trials, samples=options.samples, seed=seed, cache=options.cache
    )
    model = load(network, example=(torch.from_numpy(data.test.images[:1]),))
    with started(
        model, options.board, calibration=data.calibration, settings=settings,
        progress=ConsoleProgress(),
    ) as run:  # fmt: skip
        subject = Subject(network, data, run, seed, ratios)
        for ratio, chosen in missing.items():
            for told, pruned in rows_of(subject, ratio, chosen):
                row = {
                    **conditions, "ratio": ratio, **told, "dense_accuracy": dense,
                    "circumstances": circumstances(),
                }  # fmt: skip
                if pruned is not None:
                    keep(pruned, _networks(options) / _place(row))
                yield row


def _is_known(
    rows: Sequence[dict[str, Any]], conditions: dict[str, Any], ratio: float, side: str
) -> bool:
    wanted = {**conditions, "ratio": ratio, "side": side}
    return any(wanted.items() <= row.items() for row in rows)


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
