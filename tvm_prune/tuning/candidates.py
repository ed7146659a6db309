"""The parts of MetaSchedule's search, sized so that measuring takes the time, not searching."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from tvm.target import Target

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.library import TraceLibrary
from tvm_prune.tuning.traces import tile_slots
from tvm_prune.tuning.transfer import transfer

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSettings:
    """Knobs of the search, chosen so that building and measuring, not searching, take the time.

    Attributes:
        trials_per_round: candidates measured before the cost model learns from them.
        trials_without_tiles: trials of a kernel in which there is no loop to tile.
        population: schedules that evolve; each costs milliseconds per generation.
        generations: rounds of mutation before each round of measurements.
        transferred: candidates that are tried before any search, from tuned traces of other kernels
            and by rule.
        warm_up: measurements before the cost model is believed.
        patience: boosting rounds without progress after which training the cost model stops.
    """

    trials_per_round: int = 16
    trials_without_tiles: int = 4
    population: int = 32
    generations: int = 1
    transferred: int = 6
    warm_up: int = 16
    patience: int = 5


def first_candidates(
    workload: Workload, target: Target, library: TraceLibrary, most: int
) -> list[Any]:
    """Candidates that need no search: what tuned traces of other kernels offer, and the rule.

    Padded variants are left out: a database keeps a trace, and the trace alone does not pad.

    Args:
        workload: the kernel to tune.
        target: what it is for.
        library: tuned traces of other kernels.
        most: number of candidates at most.
    """
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    schedules = []
    try:
        schedules.append(default_schedule(workload, target))
    except TuningError as error:
        _LOG.debug("%s", error)
    for trace in library.nearest(workload, target, most - 1):
        try:
            schedules.append(transfer(trace, workload, target))
        except TransferError as error:
            _LOG.debug("%s", error)
    arguments = ArgInfo.from_entry_func(workload.mod, remove_preproc=True)
    return [MeasureCandidate(schedule, arguments) for schedule in schedules[:most]]


def evolution(settings: SearchSettings) -> Any:
    """An evolutionary search of the given size."""
    from tvm.s_tir.meta_schedule.search_strategy import EvolutionarySearch

    return EvolutionarySearch(
        population_size=settings.population,
        init_min_unmeasured=settings.population // 2,
        genetic_num_iters=settings.generations,
    )


def cost_model(settings: SearchSettings) -> Any:
    """A gradient-boosted model of costs, shared by all kernels.

    One thread: it learns from so little data that threads only wait for one another.
    """
    from tvm.s_tir.meta_schedule.cost_model import XGBModel

    return XGBModel(
        num_warmup_samples=settings.warm_up,
        early_stopping_rounds=settings.patience,
        num_tuning_cores=1,
    )


def has_tiles(trace: Any) -> bool:
    """Whether loops are tiled for caches and registers, not just split to reduce in parallel."""
    return any(len(slot.factors) > 2 for slot in tile_slots(trace))
