"""The command line: one table of commands; errors become one sentence and an exit code."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tvm_prune
from tvm_prune.acquisition import measure_kernels
from tvm_prune.arguments import (
    arrays,
    compile_options,
    measure_options,
    model_options,
    no_options,
    prune_options,
    run_options,
    shapes,
    sweep_options,
    weights_options,
    without_budget,
    writable,
)
from tvm_prune.board_choice import chosen_board
from tvm_prune.board_commands import (
    agent,
    agent_options,
    board,
    board_options,
    boards_options,
    deploy_bundle,
    deploy_options,
    list_boards,
)
from tvm_prune.budget import absolute_bytes
from tvm_prune.channels import find_channels
from tvm_prune.console import ConsoleProgress, show_logs
from tvm_prune.depth import prune_depth
from tvm_prune.errors import PruneError
from tvm_prune.export import read_bundle
from tvm_prune.firmware_build import write_project
from tvm_prune.firmware_run import run_project
from tvm_prune.frontend import load
from tvm_prune.interrupts import termination_as_interrupt
from tvm_prune.mcu.project import is_project, read_project
from tvm_prune.model import Model
from tvm_prune.pareto import sweep
from tvm_prune.report import (
    c_model_text,
    inspection_json,
    inspection_text,
    outputs_text,
    supported_ops_json,
    supported_ops_text,
)
from tvm_prune.settings import Settings
from tvm_prune.sparsifying import sparsify
from tvm_prune.transform import WeightKind, WeightThreshold
from tvm_prune.verification import run_bundle
from tvm_prune.workflow import prune

_SIGNALLED = 128
"""Added to a signal's number, it is the exit code of what the signal ended."""


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes:
        help: one line for ``--help``.
        options: adds its options to a parser.
        run: does it, and returns what goes to standard output: text, and the same for machines.
        misuse: what is wrong with options that are right one by one, or None.
    """

    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], tuple[str, Any]]
    misuse: Callable[[argparse.Namespace], str | None] = lambda _options: None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Returns 0, 1 after an error, 2 after wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
    """
    options = _parser().parse_args(arguments)
    command = COMMANDS[options.command]
    if misuse := command.misuse(options):
        options.usage_error(misuse)
    show_logs(options.verbose)
    terminated: list[int] = []
    try:
        with termination_as_interrupt() as terminated:
            text, data = command.run(options)
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
        return _SIGNALLED + next(iter(terminated), signal.SIGINT)
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
        sub.set_defaults(usage_error=sub.error)
        command.options(sub)
    return parser


def _model(options: argparse.Namespace) -> Model:
    return load(options.model, shapes(options.shape), keep_tied=options.keep_tied)


def _settings(options: argparse.Namespace) -> Settings:
    """The settings that a command has options for, by the same names; defaults for the others."""
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Settings)
        if hasattr(options, field.name)
    }
    return Settings(**given | {"keep": tuple(options.keep)})


def _data(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "calibration": arrays(options.calibration),
        "evaluation": arrays(options.eval) if options.eval else None,
    }


def _prune(options: argparse.Namespace) -> tuple[str, Any]:
    output = writable(Path(options.output))
    run = prune if options.depth is None else partial(prune_depth, most_blocks=options.depth)
    result = run(
        _model(options),
        options.board,
        latency=options.latency,
        parameters=options.parameters,
        macs=options.macs,
        flash=options.flash,
        ram=options.ram,
        settings=_settings(options),
        progress=ConsoleProgress(),
        **_data(options),
    )
    result.save(output)
    return f"{result.report()}\nWritten to {output}/", result.to_json()


def _sweep(options: argparse.Namespace) -> tuple[str, Any]:
    output = writable(Path(options.output))
    result = sweep(
        _model(options),
        options.board,
        output=output,
        points=options.points,
        start=options.start,
        end=options.end,
        settings=_settings(options),
        progress=ConsoleProgress(),
        **_data(options),
    )
    return f"{result.report()}\nWritten to {output}/", result.to_json()


def _measure(options: argparse.Namespace) -> tuple[str, Any]:
    result = measure_kernels(
        _model(options),
        options.board,
        measurements=options.measurements,
        minutes=options.minutes,
        settings=_settings(options),
        progress=ConsoleProgress(),
    )
    return result.report(), result.to_json()


def _weights(options: argparse.Namespace) -> tuple[str, Any]:
    output = writable(Path(options.output))
    kinds: tuple[WeightKind, ...] = ("absolute", "relative", "percentile")
    kind = next(kind for kind in kinds if getattr(options, kind) is not None)
    result = sparsify(
        _model(options),
        options.board,
        threshold=WeightThreshold(kind, getattr(options, kind)),
        evaluation=arrays(options.eval) if options.eval else None,
        settings=_settings(options),
        progress=ConsoleProgress(),
    )
    result.save(output)
    return f"{result.report()}\nWritten to {output}/", result.to_json()


def _compile(options: argparse.Namespace) -> tuple[str, Any]:
    output = writable(Path(options.output))
    model = load(options.model, shapes(options.shape))
    ram = absolute_bytes("ram", options.ram) if options.ram else None
    chosen = chosen_board(options.board, options.clock)
    compiled = write_project(model, chosen, output, options.cache, options.code, ram)
    return c_model_text(compiled, output), vars(compiled.footprint)


def _run(options: argparse.Namespace) -> tuple[str, Any]:
    if is_project(options.bundle):
        return _run_firmware(options)
    bundle = read_bundle(options.bundle)
    outputs = run_bundle(bundle, arrays(options.input))
    if options.output:
        np.savez(options.output, **outputs)  # type: ignore[arg-type]
    return outputs_text(outputs), {name: array.tolist() for name, array in outputs.items()}


def _run_firmware(options: argparse.Namespace) -> tuple[str, Any]:
    ran = run_project(
        read_project(options.bundle),
        arrays(options.input),
        options.board,
        clock=options.clock,
        profile=options.profile,
    )
    if options.output:
        np.savez(options.output, **ran.outputs)  # type: ignore[arg-type]
    return f"{outputs_text(ran.outputs)}\n{ran.text()}", ran.to_json()


def _inspect(options: argparse.Namespace) -> tuple[str, Any]:
    model = _model(options)
    channels = find_channels(model.module, attention=options.attention, keep=options.keep)
    return inspection_text(model, channels), inspection_json(model, channels)


def _supported_ops(_options: argparse.Namespace) -> tuple[str, Any]:
    return supported_ops_text(), supported_ops_json()


COMMANDS: Mapping[str, Command] = {
    "prune": Command("prune a model to its budgets", prune_options, _prune, without_budget),
    "sweep": Command(
        "prune a model to many latency budgets: a table and a plot", sweep_options, _sweep
    ),
    "measure": Command("learn what the kernels of a model cost", measure_options, _measure),
    "weights": Command(
        "set small weights to zero, and measure what that brings", weights_options, _weights
    ),
    "compile": Command(
        "compile a model, as it is, to a C project for a microcontroller",
        compile_options,
        _compile,
    ),
    "run": Command("run a bundle on given inputs", run_options, _run),
    "inspect": Command(
        "show what can be pruned, and what freezes the rest", model_options, _inspect
    ),
    "deploy": Command(
        "run a bundle on its board: check, compare, measure", deploy_options, deploy_bundle
    ),
    "boards": Command(
        "list the boards, and whether they are reachable", boards_options, list_boards
    ),
    "board": Command("start an emulated board", board_options, board),
    "agent": Command("build the server for boards without Python", agent_options, agent),
    "supported-ops": Command(
        "list the ops, and what each does with channels", no_options, _supported_ops
    ),
}
