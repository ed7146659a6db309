"""The Relax pipeline ``tvm_prune``: prune by a plan, schedule from tuned traces, lower.

executable = tvm.compile(module, target, relax_pipeline=relax.get_pipeline(
    "tvm_prune", plan=plan, cache=cache))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
import tvm_ffi
from tvm import relax

from tvm_prune.errors import PruneError

if TYPE_CHECKING:
    from tvm_prune.plan import PruningPlan

NAME = "tvm_prune"


def tvm_prune_pipeline(plan: PruningPlan | None = None, cache: str | Path | None = None) -> Any:
    """A pass from a Relax module with ops to one that TVM's virtual machine runs.

    Args:
        plan: channels to remove first; a module that is pruned already needs none.
        cache: directory with tuned schedules, as ``Settings.cache``; kernels found there, or of the
            same structure at other widths, use them, all others the default schedule.
    """

    @tvm.transform.module_pass(opt_level=0, name=NAME)  # type: ignore[untyped-decorator]
    def _pipeline(module: Any, _context: Any) -> Any:
        from tvm_prune.transform.prune_channels import PruneChannels
        from tvm_prune.transform.schedule_kernels import ScheduleKernels

        passes: list[Any] = [] if plan is None else [PruneChannels(plan)]
        passes += [
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
            ScheduleKernels(cache),
            relax.pipeline.default_build_pipeline(),
        ]
        return tvm.transform.Sequential(passes)(module)

    return _pipeline


def register_with_tvm() -> None:
    """Make the pipeline and the package's errors known to TVM; harmless when they are already.

    An error raised inside a pass crosses TVM's C++ core; one that is not registered reaches the
    caller as a RuntimeError.
    """
    if NAME not in relax.pipeline.PIPELINE_MAP:
        relax.register_pipeline(NAME)(tvm_prune_pipeline)
    errors: list[type[PruneError]] = [PruneError, *PruneError.__subclasses__()]
    for error in errors:
        tvm_ffi.register_error(error.__name__, error)
