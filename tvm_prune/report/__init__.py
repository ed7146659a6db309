"""Results as text for people."""

from __future__ import annotations

from tvm_prune.report.inspection import inspection_json, inspection_text
from tvm_prune.report.listing import boards_text, c_model_text, outputs_text
from tvm_prune.report.sparsity import sparsity_text
from tvm_prune.report.supported_ops import supported_ops_json, supported_ops_text
from tvm_prune.report.sweep import sweep_plot, sweep_text
from tvm_prune.report.text import report_text

__all__ = [
    "boards_text",
    "c_model_text",
    "inspection_json",
    "inspection_text",
    "outputs_text",
    "report_text",
    "sparsity_text",
    "supported_ops_json",
    "supported_ops_text",
    "sweep_plot",
    "sweep_text",
]
