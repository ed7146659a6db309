"""Make the seed traces that come with the package, for one class of processors.

    python scripts/tune_seeds.py --work seeds-work
    python scripts/tune_seeds.py --work seeds-work --board aarch64-qemu --clock estimated-cycles

Typical layers are tuned on a board of the class, the best schedules of each are measured again in
turns, and the fastest are kept. Then narrower layers are scheduled with what was kept, all variants
are measured, and the ranker that chooses among variants is trained on that. Where costs are
seconds, run it on a quiet machine. It takes about an hour on two cores, goes on where it was
interrupted, and writes ``tvm_prune/tuning/seeds/PROCESSOR.json.gz``.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.errors import TuningError
from tvm_prune.latency import friendly_widths
from tvm_prune.machine import core_count
from tvm_prune.measurement import Artifact, Measurement, Measurer
from tvm_prune.session import open_session
from tvm_prune.tuning import (
    TraceLibrary,
    TunedTrace,
    Workload,
    default_schedule,
    kernel_calls,
    lower,
    structure_of,
    tune,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.database import fastest_records
from tvm_prune.tuning.library import PROCESSORS, SEEDS, processor_of, read_library, write_library
from tvm_prune.tuning.ranking import program_features, train_ranker
from tvm_prune.tuning.traces import search_trace_to_json
from tvm_prune.tuning.transfer import transfer
from tvm_prune.tuning.variants import variants

GENERIC_CPU = {"x86-avx2": "haswell"}
"""LLVM's CPU to compile for where the board's own would be of a more capable class."""

_KEPT = 2
_MEASURED_AGAIN = 24
_TURNS = 3
_NARROWINGS = 6
_NARROWEST = 0.2
_OWN_TRACES = 5
_BORROWED_TRACES = 4
_VARIANTS = 2
"""Schedules of each trace that compete at a narrower width."""
_MOST_MACS = 30e6
"""Of a layer that an emulated board runs within seconds."""
_HELD_OUT = 5
"""Every which kernel is held out to tell how good the ranker is."""


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer with its epilogue, batch 1.

    Attributes:
        inputs: input channels, or features.
        outputs: output channels, or features.
        size: height and width of the input image, one number where they are equal; rows of a dense
            layer's input.
        window: height and width of the window, one number where they are equal; 0 for a dense
            layer.
        stride: of the window.
        depthwise: one filter a channel; `outputs` equals `inputs`.
        epilogue: what follows: ``bias``, ``relu``, ``relu6``, ``residual`` or ``residual_relu``.
    """

    inputs: int
    outputs: int
    size: int | tuple[int, int]
    window: int | tuple[int, int] = 3
    stride: int = 1
    depthwise: bool = False
    epilogue: str = "relu"

    @property
    def macs(self) -> float:
        """Multiply-accumulates."""
        inputs = 1 if self.depthwise else self.inputs
        if self.window == 0:
            return float(_pair(self.size)[0] * self.outputs * inputs)
        positions = math.prod(_pair(self.size)) / self.stride**2
        return positions * self.outputs * inputs * math.prod(_pair(self.window))


def _pair(extent: int | tuple[int, int]) -> tuple[int, int]:
    return extent if isinstance(extent, tuple) else (extent, extent)


def _square(*sizes: tuple[int, int, int], **options: Any) -> list[Layer]:
    """Layers of (inputs, outputs, image size)."""
    return [Layer(*size, **options) for size in sizes]


def _depthwise(*sizes: tuple[int, int], **options: Any) -> list[Layer]:
    """Depthwise layers of (channels, image size)."""
    return [Layer(channels, channels, size, depthwise=True, **options) for channels, size in sizes]


LAYERS: Sequence[Layer] = (
    *_square((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7)),
    *_square((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7), epilogue="residual_relu"),
    *_square((64, 128, 56), (128, 256, 28), (256, 512, 14), stride=2),
    *_square((16, 16, 32), (32, 32, 28), (64, 64, 14), (96, 96, 7), (24, 24, 32), (48, 48, 16)),
    *_square((32, 64, 28), (64, 96, 14), (16, 32, 32), stride=2),
    *_square((3, 32, 224), (3, 16, 96), stride=2, epilogue="relu6"),
    *_square((3, 64, 224), stride=2, window=7),
    *_square((1, 32, 28), (3, 16, 32)),
    *_square((64, 256, 56), (128, 512, 28), (256, 1024, 14), (512, 2048, 7), window=1,
             epilogue="residual_relu"),
    *_square((256, 64, 56), (512, 128, 28), (1024, 256, 14), (2048, 512, 7), window=1),
    *_square((64, 128, 56), (128, 256, 28), (256, 512, 14), window=1, stride=2, epilogue="bias"),
    *_square((16, 96, 112), (24, 144, 56), (32, 192, 28), (64, 384, 14), (96, 576, 14),
             (160, 960, 7), (320, 1280, 7), window=1, epilogue="relu6"),
    *_square((32, 16, 112), (96, 24, 56), (144, 32, 28), (192, 64, 14), (384, 96, 14),
             (576, 160, 7), window=1, epilogue="bias"),
    *_square((144, 24, 56), (192, 32, 28), (384, 64, 14), (576, 96, 14), (960, 160, 7), window=1,
             epilogue="residual"),
    *_depthwise((32, 112), (144, 56), (192, 28), (384, 14), (960, 7), epilogue="relu6"),
    *_depthwise((96, 112), (144, 56), (192, 28), (576, 14), stride=2, epilogue="relu6"),
    *_depthwise((120, 28), (240, 14), (672, 7), window=5),
    *_square((96, 10, 1), (512, 1000, 1), (1280, 1000, 1), (768, 768, 197), (768, 3072, 197),
             window=0, epilogue="bias"),
)  # fmt: skip


SMALL_LAYERS: Sequence[Layer] = (
    *_square((3, 16, 32), (16, 16, 32), (32, 32, 16), (64, 64, 8), (1, 16, 28), (16, 16, 28),
             (32, 32, 14), (64, 64, 7)),
    *_square((16, 16, 32), (32, 32, 16), (64, 64, 8), (32, 32, 14), epilogue="residual_relu"),
    *_square((16, 32, 32), (32, 64, 16), (3, 8, 96), (16, 32, 28), stride=2),
    *_square((16, 32, 32), (32, 64, 16), window=1, stride=2, epilogue="bias"),
    *_square((64, 64, 25), (8, 16, 48), (16, 32, 24), (32, 64, 12), (64, 128, 6), (128, 128, 6),
             (128, 256, 3), (256, 256, 3), window=1),
    Layer(1, 64, (49, 10), (10, 4), stride=2),
    *_depthwise((64, 25), (8, 48), (32, 24), (64, 12), (128, 6), (256, 3)),
    *_depthwise((16, 48), (32, 24), (64, 12), (128, 6), stride=2),
    *_square((640, 128, 1), (128, 128, 1), (128, 8, 1), (8, 128, 1), (64, 10, 1), window=0,
             epilogue="bias"),
)  # fmt: skip
"""Layers of networks that fit a microcontroller."""


def main() -> None:
    """Tune, measure again, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="host", help="of the class; this machine by default")
    parser.add_argument("--clock", help="what to measure in, where the board has several clocks")
    parser.add_argument("--processor", choices=list(PROCESSORS), help="default: the board's class")
    parser.add_argument("--trials", type=int, default=64, help="per layer")
    parser.add_argument("--work", type=Path, required=True, help="keeps what was tuned so far")
    parser.add_argument("--output", type=Path, default=SEEDS)
    options = parser.parse_args()
    board = _board(chosen_board(options.board, options.clock), options.processor)
    layers = SMALL_LAYERS if board.is_microcontroller else LAYERS
    if board.is_slow:
        layers = [layer for layer in layers if layer.macs <= _MOST_MACS]
    with open_session(board, options.work) as session:
        seeder = Seeder(session.target, session.measurer, session.database)
        workloads = [workload_of_layer(layer, session.target) for layer in layers]
        seeder.tune(workloads, options.trials, _others(options.output, session.target))
        seeds = list(seeder.fastest(workloads))
        booster = seeder.ranker(seeds, layers)
        processor = processor_of(session.target)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{processor}.json.gz"
    write_library(path, seeds, booster)
    print(f"{len(seeds)} traces of {len(workloads)} layers written to {path}")


def _board(board: Board, processor: str | None) -> Board:
    """The board, compiled for as if it were of a less capable class where that is wanted."""
    if processor in GENERIC_CPU:
        board = replace(board, target={**board.target, "mcpu": GENERIC_CPU[processor]})
    own = processor_of(board.tvm_target())
    if own is None or processor not in (None, own):
        raise SystemExit(
            f"the processor of {board.name} is {own}; classes: {', '.join(PROCESSORS)}"
        )
    return board


def _others(folder: Path, target: Any) -> TraceLibrary:
    """What was found for other processors: where tuning starts."""
    library = TraceLibrary()
    own = processor_of(target)
    for processor in PROCESSORS:
        path = folder / f"{processor}.json.gz"
        if processor != own and path.exists():
            library = library.with_traces(read_library(path).traces)
    return library


def workload_of_layer(layer: Layer, target: Any) -> Workload:
    """The fused kernel of a layer."""
    builder = relax.BlockBuilder()
    shape = (
        (_pair(layer.size)[0], layer.inputs)
        if layer.window == 0
        else (1, layer.inputs, *_pair(layer.size))
    )
    data = relax.Var("data", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(_layer(builder, layer, data))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), target))
    return call.workload


def _layer(builder: relax.BlockBuilder, layer: Layer, data: Any) -> Any:
    if layer.window == 0:
        value = builder.emit(relax.op.matmul(data, _ones(layer.inputs, layer.outputs)))
        return builder.emit(relax.op.add(value, _ones(layer.outputs)))
    window = _pair(layer.window)
    value = builder.emit(
        relax.op.nn.conv2d(
            data,
            _ones(layer.outputs, 1 if layer.depthwise else layer.inputs, *window),
            strides=layer.stride,
            padding=tuple(extent // 2 for extent in window),
            groups=layer.inputs if layer.depthwise else 1,
        )
    )
    shape = [int(extent) for extent in value.ty.shape]
    value = builder.emit(relax.op.add(value, _ones(1, layer.outputs, 1, 1)))
    if layer.epilogue.startswith("residual"):
        value = builder.emit(relax.op.add(value, _ones(*shape)))
    if layer.epilogue.endswith("relu"):
        value = builder.emit(relax.op.nn.relu(value))
    if layer.epilogue == "relu6":
        value = builder.emit(relax.op.maximum(value, relax.const(0.0, "float32")))
        value = builder.emit(relax.op.minimum(value, relax.const(6.0, "float32")))
    return value


def _ones(*shape: int) -> Any:
    return relax.const(np.ones(shape, "float32"))


@dataclass(frozen=True)
class Seeder:
    """Finds seed traces, and trains the ranker.

    Attributes:
        target: of the board.
        measurer: measures there.
        database: keeps what was tuned.
    """

    target: Any
    measurer: Measurer
    database: Any

    def tune(self, workloads: Sequence[Workload], trials: int, library: TraceLibrary) -> None:
        """Tune every kernel."""
        for number, workload in enumerate(workloads, start=1):
            report = tune(
                {workload: 1.0}, self.target, self.measurer, self.database,
                trials_per_kernel=trials, library=library,
            )  # fmt: skip
            for kernel in report.kernels:
                best = "nothing" if kernel.best is None else f"{kernel.best:.3g}"
                best = f"{best} {self.measurer.unit}"
                print(f"{number} of {len(workloads)}: {kernel.trials} trials, {best}", flush=True)

    def fastest(self, workloads: Sequence[Workload]) -> Iterator[TunedTrace]:
        """The best traces of every kernel, by measurements that take turns."""
        for workload in workloads:
            key = self.database.commit_workload(workload.mod)
            again = _MEASURED_AGAIN if self.measurer.unit == "seconds" else _KEPT
            traces = [record.trace for record in self.database.get_top_k(key, again)]
            schedules = [transfer(trace, workload, self.target) for trace in traces]
            costs = measure_in_turns(schedules, self.measurer)
            for position in np.argsort(costs)[:_KEPT]:
                text = search_trace_to_json(traces[position])
                yield TunedTrace(structure_of(workload), text, float(costs[position]))

    def ranker(self, seeds: Sequence[TunedTrace], layers: Sequence[Layer]) -> Any:
        """Train the ranker on variants for narrower layers; print how good it is on unseen ones."""
        library = TraceLibrary(seeds)
        generator = random.Random(0)
        rows: list[NDArray[Any]] = []
        costs: list[NDArray[Any]] = []
        kernels: list[NDArray[Any]] = []
        for layer in layers:
            for number in range(_NARROWINGS):
                narrower = _narrowed(layer, generator, friendly=number % 2 == 0)
                competitors, features = self._competitors(layer, narrower, library)
                measured = measure_in_turns(competitors, self.measurer)
                usable = np.flatnonzero(np.isfinite(measured))
                if len(usable) < 2:
                    continue
                rows.append(features[usable])
                costs.append(measured[usable])
                kernels.append(np.full(len(usable), len(kernels)))
            print(f"variants measured: {sum(map(len, costs))}", flush=True)
        _tell_quality(rows, costs, kernels)
        return train_ranker(np.concatenate(rows), np.concatenate(costs), np.concatenate(kernels))

    def _competitors(
        self, layer: Layer, narrower: Layer, library: TraceLibrary
    ) -> tuple[list[Any], NDArray[np.float32]]:
        """What a kernel's own traces and those of others offer, and the features of each."""
        wanted, target = workload_of_layer(narrower, self.target), self.target
        own = fastest_records(self.database, workload_of_layer(layer, target), target, _OWN_TRACES)
        traces = [record.trace for record in own]
        traces += library.nearest(wanted, target, _BORROWED_TRACES)
        context = tune_context(wanted.mod, target, threads=core_count())
        found: list[Any] = []
        for trace in traces:
            found += islice(variants(trace, wanted, target, context), _VARIANTS)
        with suppress(TuningError):
            found.append(default_schedule(wanted, target))
        features = program_features(found, context)
        _, different = np.unique(features, axis=0, return_index=True)
        return [found[position] for position in different], features[different]


def measure_in_turns(schedules: Sequence[Any], measurer: Measurer) -> NDArray[np.float64]:
    """Median cost of every schedule over turns; infinite where it does not run."""
    built = measurer.build([schedule.mod for schedule in schedules])
    positions = [i for i, artifact in enumerate(built) if isinstance(artifact, Artifact)]
    samples: list[list[float]] = [[] for _ in schedules]
    for _ in range(_TURNS if measurer.unit == "seconds" else 1):
        outcomes = measurer.run([built[position] for position in positions])  # type: ignore[misc]
        for position, outcome in zip(positions, outcomes, strict=True):
            if isinstance(outcome, Measurement):
                samples[position].append(outcome.median)
    return np.array([statistics.median(taken) if taken else math.inf for taken in samples])


def _tell_quality(
    rows: list[NDArray[Any]], costs: list[NDArray[Any]], kernels: list[NDArray[Any]]
) -> None:
    """How much slower than the best variant the chosen one is, on kernels that are held out."""
    train = [i for i in range(len(rows)) if i % _HELD_OUT]
    test = [i for i in range(len(rows)) if i % _HELD_OUT == 0]
    booster = train_ranker(
        np.concatenate([rows[i] for i in train]),
        np.concatenate([costs[i] for i in train]),
        np.concatenate([kernels[i] for i in train]),
    )
    chosen = [
        costs[i][int(np.argmax(booster.inplace_predict(rows[i])))] / min(costs[i]) for i in test
    ]
    first = [costs[i][0] / min(costs[i]) for i in test]
    print(
        f"on {len(test)} held-out kernels, times the best variant's cost: the ranker's choice "
        f"{statistics.median(chosen):.2f} (mean {statistics.mean(chosen):.2f}), the first variant "
        f"{statistics.median(first):.2f} (mean {statistics.mean(first):.2f})"
    )


def _narrowed(layer: Layer, generator: random.Random, friendly: bool) -> Layer:
    """The layer with fewer channels; images keep their few channels.

    Args:
        layer: a layer.
        generator: chooses how many.
        friendly: whether the widths are of the kind that planning prefers, or any.
    """

    def narrower(width: int) -> int:
        lowest = math.ceil(_NARROWEST * width)
        if width <= 3:
            return width
        return generator.choice(
            friendly_widths(lowest, width) if friendly else range(lowest, width + 1)
        )

    outputs = narrower(layer.outputs)
    return replace(
        layer, inputs=outputs if layer.depthwise else narrower(layer.inputs), outputs=outputs
    )


if __name__ == "__main__":
    main()
