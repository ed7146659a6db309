"""Short listings: boards, and the outputs of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
