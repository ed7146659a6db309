from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from small_models import MODELS, Kernels
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.channels import find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.latency import find_families
from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.tuning import ScheduleSource, Workload, default_schedule


@pytest.fixture(scope="session")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="session")
def kernels(target: Target) -> Callable[[str], Kernels]:
    """Kernels of a model whose schedules all come from traces, as after tuning."""
    known: dict[str, Kernels] = {}

    def source(workload: Workload) -> ScheduleSource:
        return ScheduleSource(workload.key, default_schedule(workload, target).trace)

    def find(name: str) -> Kernels:
        if name not in known:
            model = MODELS[name]()
            channels = find_channels(model.module)
            scores = [np.random.default_rng(0).random(group.width) for group in channels.groups]
            compilation = Compilation(model, channels, scores, width_limits(channels), target)
            families = find_families(compilation.kernel_calls, compilation.dense, source, target)
            known[name] = Kernels(compilation, families)
        return known[name]

    return find


@pytest.fixture
def measurer() -> Iterator[SimulatedMeasurer]:
    measurer = SimulatedMeasurer()
    yield measurer
    measurer.close()
