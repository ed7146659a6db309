"""Gets accuracy back without training."""

from __future__ import annotations

from tvm_prune.recover.reconstruct import imitate, reconstruct

__all__ = ["imitate", "reconstruct"]
