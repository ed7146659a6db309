"""Options that say how a board is reached and what it measures in."""

from __future__ import annotations

import argparse

from tvm_prune.connections import CLOCKS


def place_options(parser: argparse.ArgumentParser) -> None:
    """Where kernels are built, and who knows the board's servers."""
    parser.add_argument(
        "--executor", metavar="URL",
        help="build kernels elsewhere: dask://HOST:PORT, the scheduler of a Dask cluster",
    )  # fmt: skip
    tracker_option(parser)


def tracker_option(parser: argparse.ArgumentParser) -> None:
    """Who knows the board's servers."""
    parser.add_argument(
        "--tracker", metavar="HOST:PORT",
        help="the RPC tracker that knows the board's servers "
        "(default: the board file's, or $TVM_TRACKER_HOST and $TVM_TRACKER_PORT)",
    )  # fmt: skip


def clock_option(parser: argparse.ArgumentParser) -> None:
    """What the board measures in, where it has several clocks."""
    clocks = sorted({clock for names in CLOCKS.values() for clock in names})
    parser.add_argument(
        "--clock", metavar="CLOCK", choices=clocks,
        help=f"what an emulated board measures in, one of: {', '.join(clocks)} "
        "(default: what its file says)",
    )  # fmt: skip
