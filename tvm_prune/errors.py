"""Every exception that `tvm_prune` raises on purpose.

All derive from :class:`PruneError`; the command line turns them into one sentence and exit code 1.
A message says what was wrong, with the values, what is allowed, and what to do next.
"""

from __future__ import annotations


class PruneError(Exception):
    """Base class: something the user can understand and act on."""


class ModelError(PruneError):
    """A model file cannot be read, or holds something that cannot be pruned."""


class BoardError(PruneError):
    """A board description is unknown, malformed or not reachable."""


class BudgetError(PruneError):
    """A budget is malformed, or no plan can meet it."""


class PlanError(PruneError):
    """A pruning plan does not fit the model it is applied to."""


class DataError(PruneError):
    """Calibration, evaluation or input arrays do not fit the model."""


class TuningError(PruneError):
    """Tuning could not produce a working schedule."""


class TransferError(PruneError):
    """A tuned schedule cannot be applied at another width."""


class MeasureError(PruneError):
    """A board did not deliver a usable measurement."""


class VerificationError(PruneError):
    """The pruned module does not compute what the masked dense model computes."""


class ExportError(PruneError):
    """A model holds something that the format it is exported to cannot express."""


class BundleError(PruneError):
    """An output directory is incomplete, altered, or made for another machine."""
