"""The shape of one row of the op table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import AxisLabels, LabelSpace, TensorLabels, kept_positions

AttentionUnit: TypeAlias = Literal["dims", "heads"]
"""What attention layers lose: dimensions, equally many in every head, or whole heads."""

ValueLabels: TypeAlias = "TensorLabels | tuple[ValueLabels, ...] | None"
"""Labels of an expression: of a tensor, of each field of a tuple, or none for shapes."""


@dataclass(frozen=True)
class OpCall:
    """One call in the model as a labelling rule sees it.

    Attributes:
        call: the Relax call.
        inputs: labels of its arguments.
        space: the labels of the whole function.
        where: the op and the variable it is bound to, for reasons.
        variable: the Relax variable it is bound to.
        users: the bindings that use each variable of the function.
        attention: what attention layers lose.
    """

    call: Any
    inputs: tuple[Any, ...]
    space: LabelSpace
    where: str
    variable: Any
    users: Mapping[Any, Sequence[Any]]
    attention: AttentionUnit = "dims"

    @property
    def attrs(self) -> Any:
        """Attributes of the Relax op."""
        return self.call.attrs

    def tensor(self, index: int) -> TensorLabels:
        """Labels of the tensor argument at `index`."""
        labels: TensorLabels = self.inputs[index]
        return labels

    def tie(self, left: AxisLabels, right: AxisLabels) -> None:
        """Make two axes of this call live or die together."""
        self.space.tie(left, right, f"is joined with a frozen axis by {self.where}")

    def freeze(self, labels: AxisLabels, because: str) -> None:
        """Keep labels because of what this call does with them."""
        self.space.freeze(labels, f"{because} in {self.where}")


@dataclass(frozen=True)
class Rewrite:
    """One call of the model while channels are being removed."""

    call: Any
    arguments: list[Any]
    inputs: tuple[Any, ...]
    output: Any
    kept: NDArray[np.bool_]

    @property
    def attrs(self) -> Any:
        """Attributes of the Relax op."""
        return self.call.attrs

    def extent(self, axis: AxisLabels) -> int:
        """Number of positions of an axis that stay."""
        return int(self.mask(axis).sum())

    def extents(self, tensor: Sequence[AxisLabels]) -> list[int]:
        """New shape of a tensor."""
        return [self.extent(axis) for axis in tensor]

    def mask(self, axis: AxisLabels) -> NDArray[np.bool_]:
        """Which positions of an axis stay, shape (extent,)."""
        return kept_positions(axis, self.kept)


def same_op(rewrite: Rewrite) -> Any:
    """The same op on the pruned arguments; Relax infers the new shape."""
    return relax.Call(rewrite.call.op, rewrite.arguments, rewrite.call.attrs)


LabelRule = Callable[[OpCall], ValueLabels]
RewriteRule = Callable[[Rewrite], Any]


@dataclass(frozen=True)
class OpRule:
    """How labels pass through an op, and how the op is rebuilt.

    Attributes:
        labels: labels of the output, and the ties between the inputs' labels.
        rewrite: the op on arguments that have lost channels.
        masked: the op on dense arguments, its statistics counting kept channels only; None where
            the op computes every channel by itself. Such ops are the exceptions from the exactness
            law as it stands: zeros in the place of removed channels would still be counted.
    """

    labels: LabelRule
    rewrite: RewriteRule = same_op
    masked: RewriteRule | None = None


OpTable = Mapping[str, OpRule]
