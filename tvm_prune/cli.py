"""The command line: one table of commands; errors become one sentence and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tvm_prune
from tvm_prune.board import board_names, load_board
from tvm_prune.channels import find_channels
from tvm_prune.console import ConsoleProgress, show_logs
from tvm_prune.errors import DataError, ModelError, PruneError
from tvm_prune.export import read_bundle
from tvm_prune.frontend import load
from tvm_prune.importance import CRITERIA
from tvm_prune.reachability import reachability
from tvm_prune.report import boards_text, inspection_json, inspection_text, outputs_text
from tvm_prune.settings import Settings, default_cache
from tvm_prune.verification import run_bundle
from tvm_prune.workflow import prune

INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes:
        help: one line for ``--help``.
        options: adds its options to a parser.
        run: does it, and returns what goes to standard output: text, and the same for machines.
    """

    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], tuple[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns 0, 1 after an error, 2 after wrong usage, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    show_logs(options.verbose)
    try:
        text, data = COMMANDS[options.command].run(options)
    except PruneError as error:
        print(f"tvm-prune: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tvm-prune: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "tvm-prune: interrupted; what was measured is kept, run the same command to go on.",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(json.dumps(data, indent=2) if options.json else text.rstrip("\n"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tvm-prune", description="Prune a model to a latency measured on the board."
    )
    parser.add_argument("--version", action="version", version=tvm_prune.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument("-v", "--verbose", action="count", default=0, help="log more")
        command.options(sub)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an .onnx file")
    parser.add_argument(
        "--shape",
        metavar="INPUT:N,N,...",
        action="append",
        default=[],
        help="fix the shape of an input, for example input:1,3,224,224; may be given repeatedly",
    )


def _prune_options(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    _model_options(parser)
    parser.add_argument("--board", default="host", help="name of a board, or a .toml file")
    parser.add_argument(
        "--latency", required=True, help="budget: 8ms, 350us, or 0.5x of the dense latency"
    )
    parser.add_argument(
        "--calibration", required=True, metavar="NPZ", help="samples, by the names of the inputs"
    )
    parser.add_argument(
        "--eval", metavar="NPZ", help="labelled samples (array 'label') to tell the accuracy"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument(
        "--importance", default=defaults.criterion, choices=list(CRITERIA), metavar="CRITERION",
        help=f"which units matter: {', '.join(CRITERIA)} (default {defaults.criterion})",
    )  # fmt: skip
    parser.add_argument(
        "--trials", type=_positive, default=defaults.trials, metavar="N",
        help=f"candidates to measure while tuning a dense kernel (default {defaults.trials})",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=_positive, default=defaults.samples, metavar="N",
        help=f"pruned models to sample for the latency model (default {defaults.samples})",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of all randomness")
    parser.add_argument(
        "--no-recover", action="store_true",
        help="keep the weights as they are instead of reconstructing them from calibration data",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR",
        help="where tuned schedules and measurements are kept over runs",
    )  # fmt: skip


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="DIR", type=Path, help="a bundle written by prune")
    parser.add_argument("--input", required=True, metavar="NPZ", help="arrays by input name")
    parser.add_argument("--output", metavar="NPZ", type=Path, help="write the outputs here")


def _no_options(_parser: argparse.ArgumentParser) -> None:
    """The command takes none."""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _prune(options: argparse.Namespace) -> tuple[str, Any]:
    output = _writable(Path(options.output))
    settings = replace(
        Settings(),
        criterion=options.importance,
        trials=options.trials,
        samples=options.samples,
        seed=options.seed,
        recover=not options.no_recover,
        cache=options.cache,
    )
    result = prune(
        load(options.model, _shapes(options.shape)),
        options.board,
        latency=options.latency,
        calibration=_arrays(options.calibration),
        evaluation=_arrays(options.eval) if options.eval else None,
        settings=settings,
        progress=ConsoleProgress(),
    )
    result.save(output)
    return f"{result.report()}\nWritten to {output}/", result.to_json()


def _writable(directory: Path) -> Path:
    """Check, before the long work begins, that a directory can be made or written to."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"The output {directory} cannot be a directory: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise DataError(f"The output {directory} cannot be written: {existing} is read-only.")
    return directory


def _run(options: argparse.Namespace) -> tuple[str, Any]:
    bundle = read_bundle(options.bundle)
    outputs = run_bundle(bundle, _arrays(options.input))
    if options.output:
        np.savez(options.output, **outputs)  # type: ignore[arg-type]
    return outputs_text(outputs), {name: array.tolist() for name, array in outputs.items()}


def _inspect(options: argparse.Namespace) -> tuple[str, Any]:
    model = load(options.model, _shapes(options.shape))
    channels = find_channels(model.module)
    return inspection_text(model, channels), inspection_json(model, channels)


def _boards(_options: argparse.Namespace) -> tuple[str, Any]:
    rows = [reachability(load_board(name)) for name in board_names()]
    return boards_text(rows), [vars(row) for row in rows]


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for text in texts:
        name, _, extents = text.rpartition(":")
        try:
            shape = tuple(int(extent) for extent in extents.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise ModelError(
                f"Cannot read the shape '{text}'; write INPUT:N,N,..., "
                "for example --shape input:1,3,224,224."
            )
        shapes[name] = shape
    return shapes


def _arrays(path: str) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; give an .npz file.") from error
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise DataError(
            f"{path} is not an .npz file of plain arrays ({error}); write one with "
            "numpy.savez(path, INPUT=array)."
        ) from error


COMMANDS: Mapping[str, Command] = {
    "prune": Command("prune a model to a latency budget", _prune_options, _prune),
    "run": Command("run a bundle on given inputs", _run_options, _run),
    "inspect": Command(
        "show what can be pruned, and what freezes the rest", _model_options, _inspect
    ),
    "boards": Command("list the boards, and whether they are reachable", _no_options, _boards),
}
