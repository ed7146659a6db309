"""Options that decide which units and weights go, and how the accuracy is watched."""

from __future__ import annotations

import argparse

from tvm_prune.settings import Settings


def accuracy_options(parser: argparse.ArgumentParser) -> None:
    """What decides which units go, and how the accuracy is watched."""
    defaults = Settings()
    parser.add_argument(
        "--threshold", type=float, metavar="IMPORTANCE",
        help="units below it go whatever the budgets, in the scale of the criterion",
    )  # fmt: skip
    parser.add_argument(
        "--relative-threshold", type=float, metavar="SHARE",
        help="the same, as a share of the most important unit of each group, 0..1",
    )  # fmt: skip
    parser.add_argument(
        "--objective", default=defaults.objective,
        choices=["latency", "sensitivity", "importance", "accuracy"],
        help="latency: the most accurate model within the budgets (default); sensitivity, "
        "importance: the same by that alone; accuracy: the fastest one within "
        "--max-accuracy-drop",
    )  # fmt: skip
    parser.add_argument(
        "--max-accuracy-drop", type=float, metavar="SHARE",
        help="largest drop of the accuracy on the --eval samples; 0.02 is two points",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=positive, default=defaults.steps, metavar="N",
        help="prune in steps, scoring the units that are left after each (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--schedule", choices=["polynomial", "linear"], default=defaults.schedule,
        help="how the budgets tighten over the steps (default polynomial)",
    )  # fmt: skip


def depth_options(parser: argparse.ArgumentParser) -> None:
    """How many whole blocks may go."""
    parser.add_argument(
        "--depth", type=positive, metavar="N",
        help="let the planner drop up to N residual blocks where that beats thinner channels",
    )  # fmt: skip


def threshold_options(parser: argparse.ArgumentParser) -> None:
    """Which weights become zero, the data to judge that by, and the output."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--absolute", type=float, metavar="SIZE", help="weights below this size become zero"
    )
    which.add_argument(
        "--relative", type=float, metavar="SHARE",
        help="weights below this share of their tensor's largest become zero, 0..1",
    )  # fmt: skip
    which.add_argument(
        "--percentile", type=float, metavar="PERCENT",
        help="this share of every tensor's weights becomes zero, 0..100",
    )  # fmt: skip
    parser.add_argument(
        "--eval", metavar="NPZ", help="labelled samples (array 'label') to tell the accuracy"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where model and report go"
    )


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value
