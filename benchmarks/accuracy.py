"""Accuracy at equal measured latency: ours, parts of ours, and Torch-Pruning, before and after a
fine-tune.

    python -m benchmarks.accuracy [--architectures resnet8] [--seeds 0] [--ratios 0.5] ...

All sides are compiled with the same schedules and measured in turns with the dense network, twice
where that is near the latency. Each is as wide as the latency allows: what a side calls its amount
(a budget, a share of the channels, a pruning ratio) is found by measuring. Of Torch-Pruning's
criteria the one that is best on the test images counts, and is fine-tuned.

All are pruned before any is fine-tuned. Rows that the results file holds already are not made
again, so an interrupted run goes on.
"""  # noqa: D205

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_figures import HALF, Row, compared, figures_of, table_of
from benchmarks.accuracy_finetuning import Pupil, finetuned, keep
from benchmarks.accuracy_networks import (
    ARCHITECTURES,
    Data,
    Training,
    networks_in,
    share_correct,
    train_all,
    trainings,
)
from benchmarks.accuracy_sides import Ratios, Subject, sides
from benchmarks.results_file import circumstances, stored_rows, write_results
from scripts.train_example import Settings as TrainingSettings
from scripts.train_example import make_repeatable
from tvm_prune import Settings
from tvm_prune.console import ConsoleProgress
from tvm_prune.frontend import load
from tvm_prune.settings import default_cache
from tvm_prune.workflow import started

STAGES = PRUNE, FINETUNE = ("prune", "finetune")


def rows_of(subject: Subject, ratio: float, chosen: Sequence[str]) -> Iterator[tuple[Row, Any]]:
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


def to_finetune(rows: Sequence[Row]) -> list[Row]:
    """Rows whose networks have yet to be fine-tuned: all sides of one comparison, then the next."""
    sides = compared(rows).values()
    places = sorted({place for side in sides for place in side}, key=lambda p: (p[2] != HALF, p))
    chosen = [side[place] for place in places for side in sides if place in side]
    return [row for row in chosen if row["finetuned"] is None]


def main() -> None:
    """Train, prune with all sides, fine-tune; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
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
        wanted = trainings(
            options.architectures, options.seeds, options.train_epochs, options.cache
        )
        missing = {each: _missing(each, rows, options) for each in wanted}
        missing = {training: chosen for training, chosen in missing.items() if chosen}
        for training in train_all(list(missing)):
            print(f"trained {training.name} from seed {training.seed}", flush=True)
        ratios: dict[str, Ratios] = {name: {} for name in options.architectures}
        for training, chosen in missing.items():
            for row in _new_rows(training, chosen, ratios[training.name], options):
                rows.append(row)
                write_results("accuracy", figures_of(rows), rows, options.results)
    if FINETUNE in options.stages:
        for row in _finetuned_rows(rows, options):
            print(f"{_place(row)}: {row['finetuned']:.2%} after fine-tuning", flush=True)
            write_results("accuracy", figures_of(rows), rows, options.results)
    _show(rows)


def _finetuned_rows(rows: Sequence[Row], options: argparse.Namespace) -> Iterator[Row]:
    """Fine-tune what was pruned with this cache; each row when its accuracy is filled in."""
    folder = networks_in(options.cache)
    paths = [(row, folder / _place(row)) for row in to_finetune(rows) if row["finetune_epochs"]]
    found = [(row, path) for row, path in paths if path.exists()]
    pupils = [Pupil(path, row["seed"], row["finetune_epochs"]) for row, path in found]
    for place, accuracy in finetuned(pupils):
        row, _ = found[place]
        row["finetuned"] = accuracy
        yield row


def _place(row: Row) -> str:
    """Where a pruned network is kept, below the folder of networks."""
    return f"{row['architecture']}-{row['seed']}/{row['ratio']:g}-{row['side']}.pt"


def _conditions(training: Training, options: argparse.Namespace) -> dict[str, Any]:
    """What all rows of one network have in common."""
    return {
        "architecture": training.name, "seed": training.seed, "board": options.board,
        "trials": options.trials, "train_epochs": training.epochs,
        "finetune_epochs": options.finetune_epochs,
    }  # fmt: skip


def _missing(
    training: Training, known: Sequence[Row], options: argparse.Namespace
) -> dict[float, list[str]]:
    """The sides whose rows are not known yet, by the ratio."""
    conditions = _conditions(training, options)
    missing = {
        ratio: [side for side in options.sides if not _is_known(known, conditions, ratio, side)]
        for ratio in options.ratios
    }
    return {ratio: chosen for ratio, chosen in missing.items() if chosen}


def _new_rows(
    training: Training, missing: Mapping[float, Sequence[str]], ratios: Ratios,
    options: argparse.Namespace,
) -> Iterator[Row]:  # fmt: skip
    """The rows of one network: the sides that are missing, by the ratio."""
    make_repeatable(TrainingSettings(seed=training.seed))
    network, data = training.network(), Data(training.seed)
    dense = share_correct(network, data.test)
    settings = Settings(
        trials=options.trials, samples=options.samples, seed=training.seed, cache=options.cache
    )
    model = load(network, example=(torch.from_numpy(data.test.images[:1]),))
    with started(
        model, options.board, calibration=data.calibration, settings=settings,
        progress=ConsoleProgress(),
    ) as run:  # fmt: skip
        subject = Subject(network, data, run, training.seed, ratios)
        for ratio, chosen in missing.items():
            for told, pruned in rows_of(subject, ratio, chosen):
                row = {
                    **_conditions(training, options), "ratio": ratio, **told,
                    "dense_accuracy": dense, "circumstances": circumstances(),
                }  # fmt: skip
                if pruned is not None:
                    keep(pruned, networks_in(options.cache) / _place(row))
                yield row


def _is_known(rows: Sequence[Row], conditions: dict[str, Any], ratio: float, side: str) -> bool:
    wanted = {**conditions, "ratio": ratio, "side": side}
    return any(wanted.items() <= row.items() for row in rows)


def _show(rows: Sequence[Row]) -> None:
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
    console.print(table, table_of(rows))
    for name, value in figures_of(rows).items():
        console.print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
