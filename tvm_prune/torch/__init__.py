"""Back to PyTorch: a plan applied to the user's own module, and fine-tuning."""

from __future__ import annotations

from tvm_prune.torch.attention import PrunedAttention
from tvm_prune.torch.finetune import Distillation, finetune
from tvm_prune.torch.pruning import prune_module

__all__ = ["Distillation", "PrunedAttention", "finetune", "prune_module"]
