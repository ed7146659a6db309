"""Commands about boards: deploy to one, check one, emulate one, and build the agent for one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tvm_prune.agent import ARCHITECTURES, build_agent
from tvm_prune.arguments import arrays
from tvm_prune.board import board_names, load_board
from tvm_prune.board_arguments import clock_option, tracker_option
from tvm_prune.board_check import check_board
from tvm_prune.board_choice import chosen_board
from tvm_prune.console import ConsoleProgress
from tvm_prune.emulator import EmulatedBoard, check_cpu
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.export import read_bundle
from tvm_prune.installation import install
from tvm_prune.measure.tracker import find_tracker
from tvm_prune.reachability import reachability
from tvm_prune.report import boards_text


def deploy_options(parser: argparse.ArgumentParser) -> None:
    """The bundle, its inputs, and the board."""
    parser.add_argument("bundle", metavar="DIR", type=Path, help="a bundle written by prune")
    parser.add_argument("--board", required=True, help="name of a board, or a .toml file")
    parser.add_argument("--input", required=True, metavar="NPZ", help="arrays by input name")
    parser.add_argument(
        "--keep", action="store_true", help="leave the model on the board, whose agent allows it"
    )
    clock_option(parser)
    tracker_option(parser)


def deploy_bundle(options: argparse.Namespace) -> tuple[str, Any]:
    """Run a bundle on its board."""
    done = install(
        read_bundle(options.bundle),
        options.board,
        arrays(options.input),
        tracker=options.tracker,
        clock=options.clock,
        keep=options.keep,
    )
    return done.report(), done.to_json()


def boards_options(parser: argparse.ArgumentParser) -> None:
    """The board to look at closely."""
    parser.add_argument(
        "--check", metavar="NAME",
        help="build and run a kernel on this board: what is there, and does it fit its file?",
    )  # fmt: skip
    clock_option(parser)
    tracker_option(parser)


def list_boards(options: argparse.Namespace) -> tuple[str, Any]:
    """All boards, or one more closely."""
    if options.check is not None:
        checked = check_board(chosen_board(options.check, options.clock), options.tracker)
        return checked.report(), checked.to_json()
    rows = [reachability(load_board(name), options.tracker) for name in board_names()]
    return boards_text(rows), [vars(row) for row in rows]


def agent_options(parser: argparse.ArgumentParser) -> None:
    """What to build, and where it goes."""
    parser.add_argument("action", choices=["build"], help="what to do")
    parser.add_argument(
        "--arch", required=True, metavar="NAME",
        help=f"the board's architecture: {', '.join(ARCHITECTURES)}",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="what to copy to the board"
    )


def agent(options: argparse.Namespace) -> tuple[str, Any]:
    """Build the agent."""
    program = build_agent(options.arch, options.output)
    files = sorted(path.name for path in options.output.iterdir())
    return (
        f"{options.output}/ holds {', '.join(files)}.\n"
        f"Copy it to the board and run ./{program.name} --help there; docs/boards.md tells more."
    ), {"program": str(program), "files": files}


def board_options(parser: argparse.ArgumentParser) -> None:
    """The emulated board."""
    parser.add_argument("action", choices=["start"], help="what to do")
    parser.add_argument("board", metavar="NAME", help="an emulated board, or a .toml file of one")
    parser.add_argument("--cpu", metavar="CPU", help="what to emulate (default: the board file's)")
    clock_option(parser)
    tracker_option(parser)


def board(options: argparse.Namespace) -> tuple[str, Any]:
    """Emulate a board until Ctrl-C."""
    chosen = chosen_board(options.board, options.clock)
    if chosen.emulated_cpu is None:
        raise BoardError(
            f"The board '{chosen.name}' is not emulated ({chosen.connection}): start TVM's RPC "
            "server or tvm-prune's agent on it."
        )
    cpu = check_cpu(options.cpu or chosen.emulated_cpu)
    if options.tracker is not None:
        find_tracker(options.tracker, str(chosen.key))
    started = EmulatedBoard(cpu, str(chosen.key), options.tracker, clock=chosen.clock)
    place = f", tracker {options.tracker}" if options.tracker else ""
    ConsoleProgress().say(
        f"{chosen.name} ({cpu}, counts {chosen.unit}) listens at {started.name}{place}; "
        "Ctrl-C ends it"
    )
    try:
        status = started.process.wait()
    except KeyboardInterrupt:
        return "switched off", {"name": started.name}
    finally:
        started.close()
    raise MeasureError(f"The emulated board ended by itself, with the status {status}.")
