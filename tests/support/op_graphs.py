"""One small network for every row of the op table.

Each network makes channels with a convolution, sends them through the op and contracts them again.
Several networks exercise one row where the row has variants.
"""

from __future__ import annotations

from collections.abc import Mapping

from support.networks import Body
from support.op_graphs_contraction import CONTRACTION_GRAPHS
from support.op_graphs_convolution import CONVOLUTION_GRAPHS
from support.op_graphs_creation import CREATION_GRAPHS
from support.op_graphs_elementwise import ELEMENTWISE_GRAPHS
from support.op_graphs_indexing import INDEXING_GRAPHS
from support.op_graphs_movement import MOVEMENT_GRAPHS
from support.op_graphs_normalization import NORMALIZATION_GRAPHS
from support.op_graphs_pooling import POOLING_GRAPHS
from support.op_graphs_reduction import REDUCTION_GRAPHS
from support.op_graphs_reshape import RESHAPE_GRAPHS
from support.op_graphs_slicing import SLICING_GRAPHS

OP_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **ELEMENTWISE_GRAPHS,
    **REDUCTION_GRAPHS,
    **POOLING_GRAPHS,
    **MOVEMENT_GRAPHS,
    **SLICING_GRAPHS,
    **INDEXING_GRAPHS,
    **CREATION_GRAPHS,
    **CONVOLUTION_GRAPHS,
    **CONTRACTION_GRAPHS,
    **NORMALIZATION_GRAPHS,
    **RESHAPE_GRAPHS,
}
"""Networks by op name and variant."""
