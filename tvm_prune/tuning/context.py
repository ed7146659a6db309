"""MetaSchedule contexts without the half minute that importing TVM's GPU intrinsics costs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import tvm
from tvm import s_tir
from tvm.target import Target

_INTRINSICS = "tvm.s_tir.tensor_intrin"
_CPU_INTRINSICS = ("x86", "arm_cpu")


def provide_cpu_intrinsics() -> None:
    """Register the CPU tensor intrinsics, and only those, under TVM's own module name.

    ``TuneContext`` imports ``tvm.s_tir.tensor_intrin``, whose CUDA file parses hundreds of
    TVMScript functions: 30 to 90 s in every process. MetaSchedule's CPU rules name intrinsics of
    the x86 and arm_cpu files only, so a package object with the same name and search path, but
    without TVM's ``__init__``, serves them. The other files stay importable by their full names.
    Does nothing where the package is loaded already.
    """
    if _INTRINSICS in sys.modules:
        return
    folder = Path(s_tir.__file__).parent / "tensor_intrin"
    package = ModuleType(_INTRINSICS)
    package.__path__ = [str(folder)]
    package.__spec__ = importlib.util.spec_from_loader(_INTRINSICS, loader=None, is_package=True)
    sys.modules[_INTRINSICS] = package
    for name in _CPU_INTRINSICS:
        importlib.import_module(f"{_INTRINSICS}.{name}")
    s_tir.tensor_intrin = package


def tune_context(
    mod: tvm.IRModule,
    target: Target,
    *,
    search_strategy: Any = "replay-trace",
    seed: int = 1,
    threads: int = 1,
) -> Any:
    """Create a MetaSchedule ``TuneContext`` with the design space of `target`.

    Args:
        mod: one PrimFunc named ``main``.
        target: LLVM target; ``num-cores`` must be set.
        search_strategy: a MetaSchedule strategy or the name of one.
        seed: state of MetaSchedule's random number generator, at least 1.
        threads: threads that the search may use.
    """
    provide_cpu_intrinsics()
    from tvm.s_tir.meta_schedule import TuneContext

    return TuneContext(
        mod,
        target=target,
        space_generator="post-order-apply",
        search_strategy=search_strategy,
        task_name="main",
        rand_state=seed,
        num_threads=threads,
    )


def postprocess(schedule: Any, context: Any) -> bool:
    """Apply the post-processors of `context` to `schedule`; tell whether all of them accepted it.

    They are marked as such in the schedule's trace, so that applying the trace elsewhere with
    ``remove_postproc=True`` leaves them out.
    """
    schedule.enter_postproc()
    return all(postproc.apply(schedule) for postproc in context.space_generator.postprocs)
