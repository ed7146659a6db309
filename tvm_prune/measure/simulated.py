"""A board that exists only in tests: its cost is a formula, not a measurement."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tvm
import tvm_ffi

from tvm_prune.measure.building import arguments_of
from tvm_prune.measurement import Artifact, Failure, Measurement

_LANES = 16
_UNVECTORIZED = 1


class SimulatedMeasurer:
    """Deterministic stand-in for a board, in a unit that no real measurer uses.

    The cost is the number of floating point operations in thousands of millions, times how badly
    the longest vectorized loop fills vectors of 16 lanes (1 when its extent is a multiple of 16).
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-prune-simulated-")
        self._built = 0

    @property
    def unit(self) -> str:
        """``simulated``."""
        return "simulated"

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Write down the simulated cost of every module."""
        artifacts: list[Artifact | Failure] = []
        for module in modules:
            path = Path(self._folder.name) / f"{self._built}.txt"
            path.write_text(repr(simulated_cost(module)))
            artifacts.append(Artifact(path, arguments_of(module)))
            self._built += 1
        return artifacts

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Read the costs that :meth:`build` wrote down."""
        return [
            Measurement((float(artifact.path.read_text()),), self.unit) for artifact in artifacts
        ]

    def close(self) -> None:
        """Delete the artifacts."""
        self._folder.cleanup()


def simulated_cost(module: tvm.IRModule) -> float:
    """The cost that :class:`SimulatedMeasurer` tells for a scheduled module."""
    extents = [_UNVECTORIZED]

    def visit(node: object) -> None:
        if isinstance(node, tvm.tirx.For) and node.kind == tvm.tirx.ForKind.VECTORIZED:
            extents.append(int(node.extent))

    tvm_ffi.structural_walk(module["main"].body, visit)
    longest = max(extents)
    waste = math.ceil(longest / _LANES) * _LANES / longest
    return float(tvm.s_tir.analysis.estimate_tir_flops(module)) * 1e-9 * waste
