"""What a kernel costs in a model, beyond what it costs when it is measured by itself.

By itself it finds its arguments in the caches of the cores that read them. In a model its inputs
were just written by other kernels, partly on other cores, and its weights were crowded out since
the last call. That takes time by the bytes that are moved, whatever is computed with them; calling
the kernel takes time by the call. Both are learned from a few models that are measured whole, some
of which move much for what they compute, and some little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from tvm_prune.channels import Limits
from tvm_prune.latency.sampling import friendly_widths_near
from tvm_prune.latency.templates import Widths
from tvm_prune.units import SECONDS

_SECONDS_PER_BYTE = 1e-9
"""What it takes to move a byte that is in no cache, at most."""
_SECONDS_PER_CALL = 2e-6
"""What it takes TVM's virtual machine to call a kernel, at most."""
_SHARE_PER_CALL = 0.1
"""The same where costs are counted, as a share of all kernels': what is more is a disturbance."""
_NARROW = 0.4
"""Share of every group that a narrow model keeps."""


@dataclass(frozen=True)
class WholeModel:
    """A model that was measured whole.

    Attributes:
        kernels: cost of all its kernel calls, measured one by one.
        moved: bytes of the arguments of all calls.
        calls: their number.
        measured: cost of the model.
    """

    kernels: float
    moved: float
    calls: int
    measured: float


@dataclass(frozen=True)
class Surroundings:
    """What models add to their kernels.

    Attributes:
        per_byte: cost of a byte of a kernel's arguments.
        per_call: cost of a call.
    """

    per_byte: float = 0.0
    per_call: float = 0.0

    @classmethod
    def around(cls, models: Sequence[WholeModel], unit: str) -> Surroundings:
        """What explains the costs of models best, relative to each; never negative.

        Where costs are counted, moving bytes is part of a kernel's own cost.

        Args:
            models: as different from one another as may be; one is enough where costs are counted.
            unit: of all costs.
        """
        measured = np.array([model.measured for model in models])
        beyond = measured - np.array([model.kernels for model in models])
        calls = np.array([model.calls for model in models], dtype=np.float64)
        if unit == SECONDS:
            moved = np.array([model.moved for model in models])
            columns = np.stack([moved * _SECONDS_PER_BYTE, calls * _SECONDS_PER_CALL], axis=1)
            found = lsq_linear(columns / measured[:, None], beyond / measured, bounds=(0.0, 1.0)).x
            return cls(float(found[0]) * _SECONDS_PER_BYTE, float(found[1]) * _SECONDS_PER_CALL)
        most = _SHARE_PER_CALL * models[0].kernels
        return cls(per_call=min(max(0.0, float(beyond[0])), most) / models[0].calls)


NOTHING_AROUND = Surroundings()


def contrasting_widths(dense: Widths, limits: Limits) -> list[Widths]:
    """Widths of models to measure whole: dense, narrow, and either half of the groups narrow.

    Early layers move much and weigh little, late ones the other way round.

    Args:
        dense: dense width of every group.
        limits: lowest and highest width of every group.
    """
    narrow, half = narrow_widths(limits), len(dense) // 2
    halves = (*narrow[:half], *dense[half:]), (*dense[:half], *narrow[half:])
    return list(dict.fromkeys([dense, narrow, *halves]))


def narrow_widths(limits: Limits) -> Widths:
    """Widths of a narrow model to measure whole, beside the dense one.

    Args:
        limits: lowest and highest width of every group.
    """
    return friendly_widths_near(limits, [_NARROW * highest for _, highest in limits])
