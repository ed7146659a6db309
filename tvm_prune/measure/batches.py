"""Run one compiled model on many batches, loading it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from tvm_prune.measure.executable import run_in_worker

Batch = Mapping[str, npt.NDArray[Any]]


def run_executable_batches(
    library: Path, batches: Sequence[Batch], *, threads: int | None = None
) -> list[list[npt.NDArray[Any]]]:
    """Outputs of a model for every batch, computed in a process of its own.

    Args:
        library: exported shared library with a Relax ``main``.
        batches: arrays for every parameter of ``main``, by name.
        threads: size of TVM's thread pool; all processors by default.

    Raises:
        MeasureError: if the model cannot be loaded, crashes, or takes longer than ten minutes.
    """
    result: list[list[npt.NDArray[Any]]] = run_in_worker(
        compute_batches, (str(library), [dict(batch) for batch in batches]), threads
    )
    return result


def compute_batches(path: str, batches: Sequence[Batch]) -> list[list[npt.NDArray[Any]]]:
    """What the worker does: outputs of every batch, nested tuples flattened."""
    from tvm_prune.measure.jobs import flat_tensors, load_model

    main, names = load_model(path)
    outputs = []
    for batch in batches:
        tensors = [tvm.runtime.tensor(np.ascontiguousarray(batch[name])) for name in names]
        outputs.append([tensor.numpy() for tensor in flat_tensors(main(*tensors))])
    return outputs
