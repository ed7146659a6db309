"""The op table: one row an op says how channel labels pass through it."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_prune.channels.ops.attention import ATTENTION
from tvm_prune.channels.ops.contraction import CONTRACTION
from tvm_prune.channels.ops.convolution import CONVOLUTION
from tvm_prune.channels.ops.creation import CREATION
from tvm_prune.channels.ops.elementwise import ELEMENTWISE
from tvm_prune.channels.ops.indexing import INDEXING
from tvm_prune.channels.ops.movement import MOVEMENT
from tvm_prune.channels.ops.normalization import NORMALIZATION
from tvm_prune.channels.ops.pooling import POOLING
from tvm_prune.channels.ops.reduction import REDUCTION
from tvm_prune.channels.ops.reshape import RESHAPE
from tvm_prune.channels.ops.slicing import SLICING
from tvm_prune.channels.rule import OpTable

OP_TABLES: Mapping[str, OpTable] = {
    "Convolutions": CONVOLUTION,
    "Matrix products": CONTRACTION,
    "Attention": ATTENTION,
    "Normalisations": NORMALIZATION,
    "Element-wise ops": ELEMENTWISE,
    "Statistics, scans and sorting": REDUCTION,
    "Pooling, resizing and sampling": POOLING,
    "Reshaping": RESHAPE,
    "Moving, joining and repeating": MOVEMENT,
    "Splitting, slicing and padding": SLICING,
    "Indexing": INDEXING,
    "Creation": CREATION,
}
"""The rows of the op table by theme."""

OPS: OpTable = {name: rule for table in OP_TABLES.values() for name, rule in table.items()}

__all__ = ["OPS", "OP_TABLES"]
