"""Estimated cycles of firmware under QEMU: every instruction weighted with what it costs.

What an instruction costs is LLVM's model of the processor's pipeline (:mod:`tvm_prune.cycles`);
a plugin adds up the costs of those that are executed while the model runs. Neither memory nor
caches nor mispredicted branches are in these figures. They are a unit of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tvm_prune.connections import ESTIMATED_CYCLES
from tvm_prune.cycles import Processor, instruction_costs
from tvm_prune.cycles.llvm_mca import MILLI
from tvm_prune.emulator.plugin import compiled_plugin
from tvm_prune.errors import MeasureError
from tvm_prune.mcu.dialogue import Request, with_cost, with_unit
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.units import unit_of

UNIT = unit_of(ESTIMATED_CYCLES)
PLUGIN = "cycle_counter"
BEGIN, END = "model_run", "board_count"
"""Functions: a run begins in the one, and the first call of the other after it is its end."""

_SLOWER = 8
"""Times that the plugin may slow the emulator down."""


@dataclass(frozen=True)
class EstimatingLink:
    """Runs a firmware under QEMU; the costs that it tells are estimated cycles.

    Attributes:
        link: runs the firmware.
        firmware: names the addresses in it.
        processor: what the cycles are of.
    """

    link: QemuLink
    firmware: FirmwareBuilder
    processor: Processor

    def exchange(self, requests: Sequence[Request]) -> list[bytes]:
        """Payloads of the replies; see :class:`~tvm_prune.mcu.dialogue.Link`.

        Raises:
            BoardError: if LLVM's tools are missing, or have no model of the processor.
        """
        elf = self.link.elf
        begin, end = (self.firmware.address_of(elf, name) for name in (BEGIN, END))
        with tempfile.TemporaryDirectory(prefix="tvm-prune-cycles-") as folder:
            costs, output = Path(folder) / "costs.bin", Path(folder) / "cycles.txt"
            costs.write_bytes(self._table())
            plugin = f"{compiled_plugin(PLUGIN)},costs={costs},output={output}"
            plugin += f",begin={begin:x},end={end:x}"
            counting = replace(
                self.link,
                timeout=self.link.timeout * _SLOWER,
                options=(*self.link.options, "-plugin", plugin),
            )
            replies = counting.exchange(requests)
            told = [int(line) for line in output.read_text().split()]
        return self._estimated(requests, replies, told)

    def _table(self) -> bytes:
        """Address and cost of every instruction, sorted by address."""
        costs = instruction_costs(self.link.elf, self.processor)
        pairs = np.stack([costs.addresses, costs.thousandths], axis=1).astype("<u4")
        return pairs[np.argsort(pairs[:, 0], kind="stable")].tobytes()

    def _estimated(
        self, requests: Sequence[Request], replies: list[bytes], told: Sequence[int]
    ) -> list[bytes]:
        runs = [position for position, (kind, _) in enumerate(requests) if kind == "R"]
        # What the firmware runs first, to know what asking the time costs, is no model.
        if len(told) != len(runs):
            raise MeasureError(
                f"the emulator counted the cycles of {len(told)} runs, but there were {len(runs)}"
            )
        estimated = list(replies)
        for position, cost in zip(runs, told, strict=True):
            estimated[position] = with_cost(replies[position], round(cost / MILLI))
        for position, (kind, _) in enumerate(requests):
            if kind == "H":
                estimated[position] = with_unit(replies[position], UNIT)
            elif kind == "K":
                raise MeasureError("cycles are estimated for whole models, not kernel by kernel")
        return estimated
