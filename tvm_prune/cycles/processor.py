"""What LLVM calls a processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processor:
    """A processor that LLVM has a scheduling model of.

    Attributes:
        triple: architecture, as in ``aarch64-linux-gnu`` or ``thumbv7em-none-eabihf``.
        cpu: LLVM's name, as in ``cortex-a72``.
        features: what its code may use beyond that, as in ``+fullfp16``.
    """

    triple: str
    cpu: str
    features: tuple[str, ...] = ()

    @classmethod
    def of_target(cls, target: Mapping[str, Any], cpu: str | None = None) -> Processor:
        """The processor of a TVM target.

        Args:
            target: LLVM target as a dictionary, with ``mtriple`` and ``mcpu``.
            cpu: the processor, where it is not the one that the target is compiled for.
        """
        return cls(
            str(target["mtriple"]), cpu or str(target["mcpu"]), tuple(target.get("mattr", ()))
        )

    @property
    def options(self) -> tuple[str, ...]:
        """How LLVM's tools are told."""
        features = (f"--mattr={','.join(self.features)}",) if self.features else ()
        return (f"--mcpu={self.cpu}", *features)

    @property
    def is_64_bit(self) -> bool:
        """Whether it is an AArch64; the others are ARM and Thumb."""
        return self.triple.startswith(("aarch64", "arm64"))
