"""Gets accuracy back without training."""

from __future__ import annotations

from tvm_prune.recover.reconstruct import reconstruct

__all__ = ["reconstruct"]
