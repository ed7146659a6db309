"""Tuned traces of many kernels, and which of them suit a kernel that was never tuned.

A library holds the traces that a machine has tuned by itself and the seed traces that come with
the package, one file a class of processors. The seeds are data: they are made by
``scripts/tune_seeds.py`` and need neither a board nor a network connection to be used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import xgboost
from tvm.target import Target, codegen

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.tuning.database import best_records
from tvm_prune.tuning.default import Design, adapted_trace, design_space
from tvm_prune.tuning.fit import Wanted
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.ranking import Ranker
from tvm_prune.tuning.structure import Structure, structure_of
from tvm_prune.tuning.traces import (
    TileSlot,
    search_trace_to_json,
    tile_slots_of_text,
    trace_from_json,
)

SEEDS = Path(__file__).parent / "seeds"
FORMAT = 1

PROCESSORS: Mapping[str, str] = {
    "x86-avx512": "avx512f",
    "x86-avx2": "avx2",
    "arm-neon": "neon",
    "cortex-m55": "mve",
    "cortex-m7": "fp64",
}
"""Classes of processors that share their seeds, if they have any: the feature they need.

A processor belongs to the first one whose feature it has.
"""


@dataclass(frozen=True)
class TunedTrace:
    """A schedule that was found by tuning.

    Attributes:
        structure: of the kernel that it was tuned for.
        text: the trace, from :func:`~tvm_prune.tuning.traces.trace_to_json`.
        cost: what the kernel costs with it, in the unit of the board it was tuned on.
    """

    structure: Structure
    text: str
    cost: float

    @cached_property
    def slots(self) -> tuple[TileSlot, ...]:
        """The loops that it tiles."""
        return tile_slots_of_text(self.text)


@dataclass(frozen=True)
class TraceLibrary:
    """Tuned traces for one target.

    Attributes:
        traces: in any order.
        ranker: orders schedules of one kernel; None keeps them in the order of their traces.
    """

    traces: Sequence[TunedTrace] = ()
    ranker: Ranker | None = None

    @cached_property
    def key(self) -> str:
        """Stands for all traces and the ranker."""
        parts = [
            *sorted(trace.text for trace in self.traces),
            self.ranker.key if self.ranker else "",
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def _by_core(self) -> dict[object, list[TunedTrace]]:
        found: dict[object, list[TunedTrace]] = {}
        for trace in self.traces:
            found.setdefault(_core(trace.structure), []).append(trace)
        return found

    def with_traces(self, traces: Sequence[TunedTrace]) -> TraceLibrary:
        """The library with more traces in it."""
        return TraceLibrary([*self.traces, *traces], self.ranker)

    def nearest(self, workload: Workload, target: Target, count: int) -> list[Any]:
        """Traces that apply to a workload, tuned for the kernels nearest to it, best first.

        A trace of the same structure is used as it is. One of a kernel that does the same work
        with another epilogue gives its tile sizes to a point of the workload's own design space.

        Args:
            workload: an unscheduled kernel.
            target: what it is for.
            count: most traces to give.
        """
        wanted = Wanted(workload)
        reader = TraceReader(wanted, target)
        traces = map(reader.trace, self.relatives(wanted.structure))
        return list(islice((trace for trace in traces if trace is not None), count))

    def relatives(self, structure: Structure) -> list[TunedTrace]:
        """The traces of kernels that do the same work, at other extents; the nearest first."""
        if structure.core is None:
            return []
        return sorted(
            self._by_core.get(_core(structure), ()),
            key=lambda trace: (
                trace.structure.distance(structure),
                not trace.structure.is_like(structure),
                trace.cost,
            ),
        )


@dataclass(frozen=True)
class TraceReader:
    """Reads tuned traces as traces of one workload.

    Nothing is kept for others: a design space follows from extents, and what is offered for a
    workload must not depend on which one was asked for first.

    Attributes:
        wanted: the kernel.
        target: what it is for.
        context: from :func:`~tvm_prune.tuning.context.tune_context` for this very workload, or
            None: then one is made when it is needed.
    """

    wanted: Wanted
    target: Target
    context: Any | None = None

    def trace(self, tuned: TunedTrace) -> Any | None:
        """The trace as an object, or None where it does not apply."""
        try:
            if tuned.structure.is_like(self.wanted.structure):
                return trace_from_json(tuned.text, self.wanted.workload)
            return adapted_trace(tuned.text, self.wanted.workload, self._designs)
        except (TransferError, TuningError):
            return None

    @cached_property
    def _designs(self) -> list[Design]:
        return design_space(self.wanted.workload, self.target, self.context)


def tuned_library(database: Any, target: Target) -> TraceLibrary:
    """The fastest trace of every kernel that a database holds for a target."""
    return TraceLibrary(
        [
            TunedTrace(
                structure_of(Workload(record.workload.mod)),
                search_trace_to_json(record.trace),
                float(record.run_secs[0]),
            )
            for record in best_records(database, target)
        ]
    )


def processor_of(target: Target) -> str | None:
    """The class of processors that a target belongs to, or None where there are no seeds."""
    if target.kind.name != "llvm":
        return None
    for name, feature in PROCESSORS.items():
        if codegen.target_has_features(feature, target):
            return name
    return None


def seed_library(target: Target) -> TraceLibrary:
    """The seed traces for a target; an empty library where none come with the package."""
    processor = processor_of(target)
    path = SEEDS / f"{processor}.json.gz"
    return read_library(path) if processor is not None and path.exists() else TraceLibrary()


def read_library(path: Path) -> TraceLibrary:
    """Read a file of seed traces.

    Raises:
        TuningError: if it was written in another format.
    """
    content = json.loads(gzip.decompress(path.read_bytes()))
    if content.get("format") != FORMAT:
        raise TuningError(
            f"{path} has format {content.get('format')}; this version reads format {FORMAT}. "
            "Make it anew with scripts/tune_seeds.py."
        )
    booster = xgboost.Booster(model_file=bytearray(json.dumps(content["ranker"]).encode()))
    return TraceLibrary(
        [
            TunedTrace(
                Structure(
                    tuple((name, axes) for name, axes in entry["blocks"]),
                    tuple(tuple(extents) for extents in entry["extents"]),
                ),
                json.dumps(entry["trace"]),
                entry["cost"],
            )
            for entry in content["traces"]
        ],
        Ranker(booster),
    )


def write_library(path: Path, traces: Iterable[TunedTrace], booster: Any) -> None:
    """Write a file of seed traces with the ranker that orders schedules made from them.

    Args:
        path: where to; its folder exists.
        traces: the seeds.
        booster: from :func:`~tvm_prune.tuning.ranking.train_ranker`.
    """
    content = {
        "format": FORMAT,
        "traces": [
            {
                "blocks": trace.structure.blocks,
                "extents": trace.structure.extents,
                "trace": json.loads(trace.text),
                "cost": trace.cost,
            }
            for trace in traces
        ],
        "ranker": json.loads(booster.save_raw("json")),
    }
    text = json.dumps(content, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _core(structure: Structure) -> object:
    return None if structure.core is None else structure.blocks[structure.core]
