"""Options of the commands, and what their texts stand for."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.accuracy_arguments import (
    accuracy_options,
    depth_options,
    threshold_options,
)
from tvm_prune.board_arguments import clock_option, place_options
from tvm_prune.budget import QUANTITIES
from tvm_prune.errors import DataError, ModelError
from tvm_prune.importance import CRITERIA
from tvm_prune.latency import MOST_MEASUREMENTS
from tvm_prune.mcu import CODES
from tvm_prune.settings import Settings, default_cache


def file_options(parser: argparse.ArgumentParser) -> None:
    """The model's file."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx, .pt2 or .tflite file")
    parser.add_argument(
        "--shape",
        metavar="INPUT:N,N,...",
        action="append",
        default=[],
        help="fix the shape of an input, for example input:1,3,224,224; may be given repeatedly",
    )


def model_options(parser: argparse.ArgumentParser) -> None:
    """The model, and what to leave alone in it."""
    file_options(parser)
    parser.add_argument(
        "--keep", metavar="NAME", action="append", default=[],
        help="a parameter or layer that loses nothing; may be a glob, may be given repeatedly",
    )  # fmt: skip
    parser.add_argument(
        "--keep-tied", action="store_true",
        help="a weight that several layers share stays one weight and is pruned for all of them",
    )  # fmt: skip
    parser.add_argument(
        "--attention", choices=["dims", "heads"], default=Settings().attention,
        help="what attention layers lose: dimensions of every head, or whole heads",
    )  # fmt: skip


def prune_options(parser: argparse.ArgumentParser) -> None:
    """What a run takes, and the budgets."""
    session_options(parser)
    depth_options(parser)
    for name, quantity in QUANTITIES.items():
        parser.add_argument(
            f"--{name}", metavar="BUDGET", help=f"{quantity.noun}, at most: {quantity.examples}"
        )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the bundle to write")


def without_budget(options: argparse.Namespace) -> str | None:
    """What is wrong with the usage of ``prune``, if anything is."""
    names = [f"--{name}" for name in QUANTITIES]
    thresholds = (options.threshold, options.relative_threshold)
    if options.objective == "accuracy" or any(value is not None for value in thresholds):
        return None
    if all(getattr(options, name) is None for name in QUANTITIES):
        return f"at least one of the arguments {', '.join(names)} is required"
    return None


def sweep_options(parser: argparse.ArgumentParser) -> None:
    """What a run takes, and the range of budgets."""
    session_options(parser)
    parser.add_argument(
        "--points", type=_several, default=8, metavar="N", help="number of budgets (default 8)"
    )
    parser.add_argument(
        "--from", dest="start", default="0.9x", metavar="BUDGET",
        help="first latency budget: 8ms, 350us, or 0.9x of the dense latency (default)",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="end", default="0.3x", metavar="BUDGET",
        help="last latency budget (default 0.3x)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR",
        help="where table, plot and a bundle for each budget go",
    )  # fmt: skip


def session_options(parser: argparse.ArgumentParser) -> None:
    """The model, the board, the data and the effort."""
    defaults = Settings()
    model_options(parser)
    parser.add_argument(
        "--calibration", required=True, metavar="NPZ", help="samples, by the names of the inputs"
    )
    parser.add_argument(
        "--eval", metavar="NPZ", help="labelled samples (array 'label') to tell the accuracy"
    )
    parser.add_argument(
        "--importance", dest="criterion", default=defaults.criterion, choices=list(CRITERIA),
        metavar="CRITERION",
        help=f"which units matter: {', '.join(CRITERIA)} (default {defaults.criterion})",
    )  # fmt: skip
    accuracy_options(parser)
    parser.add_argument(
        "--samples", type=_positive, default=defaults.samples, metavar="N",
        help=f"pruned models to sample for the latency model (default {defaults.samples})",
    )  # fmt: skip
    parser.add_argument(
        "--no-recover", dest="recover", action="store_false",
        help="keep the weights as they are instead of reconstructing them from calibration data",
    )  # fmt: skip
    board_options(parser)


def measure_options(parser: argparse.ArgumentParser) -> None:
    """The model, the board and the effort."""
    model_options(parser)
    parser.add_argument(
        "--minutes", type=_positive_number, metavar="N", help="stop measuring after that long"
    )
    parser.add_argument(
        "--measurements", type=_positive, default=MOST_MEASUREMENTS, metavar="N",
        help=f"kernels to measure at most (default {MOST_MEASUREMENTS})",
    )  # fmt: skip
    board_options(parser)


def board_options(parser: argparse.ArgumentParser) -> None:
    """The board, and what is tuned and kept for it."""
    defaults = Settings()
    parser.add_argument("--board", default="host", help="name of a board, or a .toml file")
    parser.add_argument(
        "--trials", type=_not_negative, default=defaults.trials, metavar="N",
        help="candidates to measure while tuning a dense kernel; 0 relies on the seed traces "
        f"(default {defaults.trials})",
    )  # fmt: skip
    parser.add_argument(
        "--max-sparsity", type=float, default=defaults.max_sparsity, metavar="SHARE",
        help=f"most of a group that may go, 0..1 (default {defaults.max_sparsity})",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of all randomness")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR",
        help="where tuned schedules and measurements are kept over runs",
    )  # fmt: skip
    clock_option(parser)
    place_options(parser)


def weights_options(parser: argparse.ArgumentParser) -> None:
    """The model, the board, and which weights become zero."""
    model_options(parser)
    threshold_options(parser)
    board_options(parser)


def compile_options(parser: argparse.ArgumentParser) -> None:
    """The model, the microcontroller and where the project goes."""
    file_options(parser)
    parser.add_argument(
        "--board", required=True, help="name of a microcontroller board, or a .toml file"
    )
    parser.add_argument(
        "--code", choices=list(CODES), default="llvm",
        help="kernels as an object file (llvm, default) or as portable C (c)",
    )  # fmt: skip
    clock_option(parser)
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR",
        help="where tuned schedules are kept over runs",
    )  # fmt: skip
    parser.add_argument(
        "--ram", metavar="SIZE",
        help="what the model may take of the RAM, like 64KB (default: what the board has)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where the C project goes"
    )


def run_options(parser: argparse.ArgumentParser) -> None:
    """The bundle and its inputs."""
    parser.add_argument(
        "bundle", metavar="DIR", type=Path, help="a bundle written by prune, or a C project"
    )
    parser.add_argument(
        "--board", help="run a C project on this board instead of the one it was made for"
    )
    clock_option(parser)
    parser.add_argument(
        "--profile", action="store_true", help="tell what each kernel of a C project costs, too"
    )
    parser.add_argument("--input", required=True, metavar="NPZ", help="arrays by input name")
    parser.add_argument("--output", metavar="NPZ", type=Path, help="write the outputs here")


def no_options(_parser: argparse.ArgumentParser) -> None:
    """The command takes none."""


def _positive(text: str) -> int:
    return _at_least(1, text)


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _not_negative(text: str) -> int:
    return _at_least(0, text)


def _several(text: str) -> int:
    return _at_least(2, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
    return value


def writable(directory: Path) -> Path:
    """Check, before the long work begins, that a directory can be made or written to.

    Raises:
        DataError: if it cannot.
    """
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"The output {directory} cannot be a directory: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise DataError(f"The output {directory} cannot be written: {existing} is read-only.")
    return directory


def shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by input name, from ``INPUT:N,N,...``.

    Raises:
        ModelError: if a text cannot be read.
    """
    found = {}
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
        found[name] = shape
    return found


def arrays(path: str) -> Mapping[str, NDArray[Any]]:
    """Arrays by name from an .npz file; nothing in it is unpickled.

    Raises:
        DataError: if it cannot be read.
    """
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
