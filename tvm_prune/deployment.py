"""A chosen plan as it is delivered: recovered, compiled, verified and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.operations import multiply_accumulates
from tvm_prune.plan import PruningPlan
from tvm_prune.recover import reconstruct
from tvm_prune.search import Search
from tvm_prune.transform import masked_model, prune_parameters
from tvm_prune.verification import Verification, verify

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


def deploy(search: Search, widths: Widths, calibration: Arrays) -> Deployed:
    """Recover, compile, verify and measure the model at the given widths.

    Args:
        search: the run.
        widths: width of every group.
        calibration: samples stacked along the first axis, by input name.

    Raises:
        VerificationError: if the compiled model does not compute what it should.
    """
    compilation, dense = search.compilation, search.compilation.model
    plan = compilation.plan(widths)
    with search.progress.step("recovering, compiling and verifying", 3) as step:
        values = prune_parameters(dense.parameters, plan)
        if search.settings.recover and plan.kept:
            values = reconstruct(dense, plan, calibration, search.settings.seed)
        step.update(1, "compiling")
        model = compilation.pruned(plan, values)
        library = search.folder / "deployed.so"
        compilation.build(model, search.families, library)
        step.update(2, "verifying")
        references = {
            "zero-masked dense model": masked_model(dense, plan, values),
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
