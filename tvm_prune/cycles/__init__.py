"""Estimated cycles: what each instruction of compiled code costs by LLVM's model of a processor.

Instructions that are executed say how much work there is, not how well a processor does it. Here
the code is divided into basic blocks, and llvm-mca tells what each costs on a processor whose
pipelines LLVM describes. Who counts executions weights them with these costs.

These are estimates. The model knows latencies, pipelines and the width of a processor; it knows
nothing of caches, of branches that are predicted wrongly, and of what one block's instructions
have to wait for in another. Estimated cycles are a unit of their own, never to be mixed with
cycles that a processor counted, nor with instructions.
"""

from __future__ import annotations

from tvm_prune.cycles.costs import InstructionCosts, instruction_costs
from tvm_prune.cycles.processor import Processor
from tvm_prune.cycles.table import write_table

__all__ = ["InstructionCosts", "Processor", "instruction_costs", "write_table"]
