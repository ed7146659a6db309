"""Back to PyTorch: a plan applied to the user's own module."""

from __future__ import annotations

from tvm_prune.torch.attention import PrunedAttention
from tvm_prune.torch.pruning import prune_module

__all__ = ["PrunedAttention", "prune_module"]
