"""A chosen plan as it is delivered: recovered, compiled, verified and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.operations import multiply_accumulates
from tvm_prune.plan import PruningPlan
from tvm_prune.progress import Step
from tvm_prune.recover import reconstruct
from tvm_prune.search import Search
from tvm_prune.transform import masked_model, prune_parameters
from tvm_prune.verification import Verification, verify
from tvm_prune.whole_models import pooled

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Deployed:
    """A model that was built for the board and measured there.

    Attributes:
        plan: what was kept.
        model: the pruned model, its parameters as they are deployed.
        library: the compiled model.
        verification: comparison with independent references.
        dense_latency: measured latency of the dense model.
        latency: measured latency of the pruned model, in turns with the dense one.
        memory: bytes of flash and RAM, where it is firmware.
    """

    plan: PruningPlan
    model: Model
    library: Path
    verification: Verification
    dense_latency: Measurement
    latency: Measurement
    memory: Mapping[str, float] = field(default_factory=dict)

    def costs(self) -> dict[str, float]:
        """What the pruned model costs, by name of the budget: measured, and counted on itself."""
        return {
            "latency": self.latency.median,
            "parameters": self.model.parameter_count,
            "macs": multiply_accumulates(self.model.module),
            **self.memory,
        }


def recovered(search: Search, widths: Widths, calibration: Arrays) -> tuple[PruningPlan, Model]:
    """The plan that keeps the best units at some widths, and the model after it.

    Args:
        search: the run; its settings say whether the kept weights are refitted.
        widths: width of every group.
        calibration: samples stacked along the first axis, by input name.
    """
    compilation = search.compilation
    plan = compilation.plan(widths)
    values = prune_parameters(compilation.model.parameters, plan)
    if search.settings.recover and plan.kept:
        values = reconstruct(compilation.model, plan, calibration, search.settings.seed)
    return plan, compilation.pruned(plan, values)


def deploy(search: Search, widths: Widths, calibration: Arrays) -> Deployed:
    """Recover, compile, verify and measure the model at the given widths.

    Args:
        search: the run.
        widths: width of every group.
        calibration: samples stacked along the first axis, by input name.

    Raises:
        VerificationError: if the compiled model does not compute what it should.
    """
    with search.progress.step("recovering, compiling and verifying", 3) as step:
        plan, model = recovered(search, widths, calibration)
        step.update(1, "compiling")
        return deploy_model(search, plan, model, calibration, step)


def deploy_model(
    search: Search, plan: PruningPlan, model: Model, calibration: Arrays, step: Step
) -> Deployed:
    """Compile, verify and measure a pruned model with the weights that it has.

    Args:
        search: the run.
        plan: what was kept.
        model: the pruned model.
        calibration: samples stacked along the first axis, by input name.
        step: told how far this is.

    Raises:
        VerificationError: if the compiled model does not compute what it should.
    """
    compilation, dense = search.compilation, search.compilation.model
    library = search.folder / "deployed.so"
    search.models.compile(model, library)
    step.update(2, "verifying")
    references = {
        "zero-masked dense model": masked_model(dense, plan, model.parameters),
        "pruned model": model,
    }
    verification = verify(library, references, calibration, search.session.measurer)
    dense_library = search.models.build(compilation.dense)
    # The dense model is not compared with itself: noise would make one of the two slower.
    libraries = [dense_library, library] if plan.kept else [dense_library]
    latencies = search.models.measure(libraries)
    step.update(3)
    memory = search.models.memory(library)
    return Deployed(plan, model, library, verification, latencies[0], latencies[-1], memory)


def measured_twice(search: Search, deployed: Deployed) -> Deployed:
    """The same, its latencies those of another measurement and the one that it has, pooled.

    Args:
        search: the run.
        deployed: a model, measured in turns with the dense one where it is not the dense one.
    """
    if not deployed.plan.kept:
        return deployed
    libraries = [search.models.build(search.compilation.dense), deployed.library]
    first = [deployed.dense_latency, deployed.latency]
    dense, pruned = pooled(first, search.models.measure(libraries))
    return replace(deployed, dense_latency=dense, latency=pruned)
