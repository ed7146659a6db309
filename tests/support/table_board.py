"""A board whose kernels are simulated, and on which whole models take as long as a table says."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax

from support.onnx_models import onnx_model, weight
from tvm_prune.compilation import Compilation
from tvm_prune.frontend import load_onnx
from tvm_prune.measure import MEASURERS
from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.measurement import Artifact, Failure, Measurement
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan

Array = NDArray[Any]
Widths = tuple[int, ...]

DENSE = (16, 16)
CALL_COST = 1e-6


def network() -> Model:
    """Two groups of sixteen units."""
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        b = Conv <pads=[1,1,1,1]> (r, two) s = Relu(b)
        p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense)
    """
    weights = {"one": weight(16, 3, 3, 3), "two": weight(16, 16, 3, 3), "dense": weight(4, 16)}
    return load_onnx(onnx_model(body, weights))


def images(count: int) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    return {"x": generator.standard_normal((count, 3, 8, 8)).astype("float32")}


@dataclass
class TableBoard(SimulatedMeasurer):
    """Whole models cost what a function of their widths says.

    Attributes:
        cost: cost of a model by its widths.
        folder: where copies of libraries go that are run.
        widths: widths of every library that was built; those of a bundle are in its plan.
        timed: how many models were timed at once, for each time.
    """

    cost: Callable[[Widths], float]
    folder: Path
    widths: dict[Path, Widths] = field(default_factory=dict)
    timed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Simulated kernels that compute nothing, such as a reshape, would cost nothing."""
        costs = [float(artifact.path.read_text()) + CALL_COST for artifact in artifacts]
        return [Measurement((cost,), self.unit) for cost in costs]

    def time_models(
        self, libraries: Sequence[Path], inputs: Mapping[str, Array], *, rounds: int = 15
    ) -> list[Measurement]:
        del inputs, rounds
        self.timed.append(len(libraries))
        return [Measurement((self.cost(self._of(library)),), self.unit) for library in libraries]

    def run_model(self, library: Path, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """Outputs, computed in this process; a loaded library is never written over."""
        loaded = self.folder / f"loaded-{len(list(self.folder.iterdir()))}.so"
        shutil.copy(library, loaded)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(loaded)), tvm.cpu())
        results = [
            machine["main"](*(tvm.runtime.tensor(array) for array in batch.values()))
            for batch in inputs
        ]
        return [[result.numpy()] for result in results]

    def _of(self, library: Path) -> Widths:
        if library in self.widths:
            return self.widths[library]
        plan = PruningPlan.load(library.parent / "plan.json")
        return tuple(width.kept for width in plan.widths)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this board stand for the host.

        Pruned models that are only timed are not compiled: the table does not look at them.
        """
        build = Compilation.build

        def noted(
            compilation: Compilation,
            model: Model,
            families: Any,
            choose: Any,
            path: Path,
            room: int | None,
        ) -> None:
            self.widths[path] = tuple(model.parameters[name].shape[0] for name in ("one", "two"))
            if path.name == "deployed.so" or self.widths[path] == DENSE:
                build(compilation, model, families, choose, path, room)

        monkeypatch.setattr(Compilation, "build", noted)
        monkeypatch.setitem(MEASURERS, "local", lambda *_arguments: self)  # type: ignore[arg-type]


class Stopwatch(TableBoard):
    """Its costs are measured, and so uncertain."""

    @property
    def unit(self) -> str:
        return "seconds"
