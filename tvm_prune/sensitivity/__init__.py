"""How much the network's output moves when a group gets narrower."""

from __future__ import annotations

from tvm_prune.sensitivity.curves import Curve, disturbance, output_loss, sensitivity_curves

__all__ = ["Curve", "disturbance", "output_loss", "sensitivity_curves"]
