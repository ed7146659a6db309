"""Train the ranker of a class of processors on schedules of narrower layers, all measured."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.seed_costs import schedule_costs
from scripts.seed_layers import Layer, workload_of_layer
from tvm_prune.errors import TuningError
from tvm_prune.latency import friendly_widths
from tvm_prune.machine import core_count
from tvm_prune.session import Session
from tvm_prune.tuning import TraceLibrary, TunedTrace, Workload, default_schedule
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.ranking import program_features, train_ranker
from tvm_prune.tuning.variants import variants

_NARROWINGS = 6
_NARROWEST = 0.2
_NEAREST = 12
"""Traces that a narrower layer is scheduled with: more than the product tries, and worse ones. A
ranker that has only seen good schedules cannot tell them from others."""
_VARIANTS = 2
"""Schedules of each trace that compete at a narrower width."""
_HELD_OUT = 5
"""Every which kernel is held out to tell how good the ranker is."""


def seed_ranker(session: Session, seeds: Sequence[TunedTrace], layers: Sequence[Layer]) -> Any:
    """Train the ranker on variants for narrower layers; print how good it is on unseen ones.

    Args:
        session: the board, and what was measured.
        seeds: traces that the layers are scheduled with.
        layers: to make narrower in several ways each.
    """
    library = TraceLibrary(seeds)
    generator = random.Random(0)
    rows: list[NDArray[Any]] = []
    costs: list[NDArray[Any]] = []
    kernels: list[NDArray[Any]] = []
    for layer in layers:
        for number in range(_NARROWINGS):
            narrower = _narrowed(layer, generator, friendly=number % 2 == 0)
            wanted = workload_of_layer(narrower, session.target)
            competitors, features = _competitors(wanted, library, session.target)
            measured = schedule_costs(session, wanted, competitors)
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
    wanted: Workload, library: TraceLibrary, target: Any
) -> tuple[list[Any], NDArray[np.float32]]:
    """What the nearest traces and the rule offer for a kernel, and the features of each."""
    context = tune_context(wanted.mod, target, threads=core_count())
    found: list[Any] = []
    for trace in library.nearest(wanted, target, _NEAREST):
        found += islice(variants(trace, wanted, target, context), _VARIANTS)
    with suppress(TuningError):
        found.append(default_schedule(wanted, target))
    features = program_features(found, context)
    _, different = np.unique(features, axis=0, return_index=True)
    return [found[position] for position in different], features[different]


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
