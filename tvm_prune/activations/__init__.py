"""Activations of ONNX models: streamed over many samples, in bounded memory."""

from __future__ import annotations

from tvm_prune.activations.blocks import Blocks
from tvm_prune.activations.graph import Graph
from tvm_prune.activations.layers import Layer, find_layers
from tvm_prune.activations.patches import Cells, choose_cells, inputs_at, outputs_at, rows_for
from tvm_prune.activations.products import BLOCK, summed_products
from tvm_prune.activations.walk import Walk, activations

__all__ = [
    "BLOCK",
    "Blocks",
    "Cells",
    "Graph",
    "Layer",
    "Walk",
    "activations",
    "choose_cells",
    "find_layers",
    "inputs_at",
    "outputs_at",
    "rows_for",
    "summed_products",
]
