"""What an importance criterion may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tvm_prune.channels import Channels


@dataclass(frozen=True)
class Context:
    """Inputs of a criterion.

    Attributes:
        channels: groups and units of the model.
        parameters: dense parameters by name.
        seed: seed of anything random.
    """

    channels: Channels
    parameters: Mapping[str, NDArray[Any]]
    seed: int = 0
