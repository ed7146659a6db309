"""Short listings: boards, and the outputs of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.report.tables import text_table


def boards_text(rows: Sequence[Any]) -> str:
    """Boards and whether each is reachable."""
    return text_table(
        ("board", "target", "reachable", "remark"),
        [
            (row.name, row.target, "yes" if row.reachable else "no", row.remark or row.description)
            for row in rows
        ],
    )


def outputs_text(outputs: Mapping[str, NDArray[Any]]) -> str:
    """Shape, dtype and values of every output; long arrays are shortened."""
    return "\n".join(
        f"{name} {array.dtype}{list(array.shape)}\n{np.array2string(array, precision=5)}"
        for name, array in outputs.items()
    )


def c_model_text(model: Any, directory: Path) -> str:
    """Memory that a :class:`~tvm_prune.mcu.CModel` takes, and what to do with its folder."""
    footprint = model.footprint
    share = footprint.arena / footprint.arena_lower_bound if footprint.arena_lower_bound else 1.0
    return "\n".join(
        [
            f"{model.name}: {len(model.kernel_names)} kernel calls",
            f"flash  weights {footprint.weights:,} bytes, and the code",
            f"RAM    arena {footprint.arena:,} bytes ({share:.3f} of the least possible)",
            f"Written to {directory}/; `make -C {directory} firmware` builds it, "
            f"{directory}/README.md shows how to call it.",
        ]
    )
