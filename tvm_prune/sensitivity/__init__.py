"""How much the network's output moves when a group gets narrower."""

from __future__ import annotations

from tvm_prune.sensitivity.curves import Curve, output_loss, sensitivity_curves

__all__ = ["Curve", "output_loss", "sensitivity_curves"]
