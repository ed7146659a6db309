"""What sessions with the servers of a board have to be like."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.cycles import Processor, instruction_costs, write_table
from tvm_prune.errors import MeasureError
from tvm_prune.measure.facts import describe_server
from tvm_prune.units import SECONDS, unit_of

_USE_CORES = "tvm_prune.agent.use_cores"


@dataclass(frozen=True)
class SessionTerms:
    """What holds for every session with a board.

    Attributes:
        clock: what the server's clock counts, from ``clocks.CLOCKS``.
        processor: whose cycles it estimates; None for all other clocks.
        cores: what the session's process and TVM's threads run on; any where it is empty.
    """

    clock: str = SECONDS
    processor: Processor | None = None
    cores: tuple[int, ...] = ()

    def begin(self, session: Any) -> None:
        """Check the server's clock, and confine the session to its cores, before it computes.

        Raises:
            MeasureError: if the clock counts something else, because units are never mixed, or the
                server cannot confine sessions.
        """
        facts = describe_server(session)
        counted = facts.get("clock", SECONDS)
        if counted != self.clock:
            raise MeasureError(
                f"the server's clock counts {unit_of(counted)}, but its board is measured in "
                f"{unit_of(self.clock)}"
            )
        if self.processor is not None and facts.get("cpu") != self.processor.cpu:
            raise MeasureError(
                f"the server estimates the cycles of a {facts.get('cpu')}, but its board is a "
                f"{self.processor.cpu}"
            )
        if self.cores:
            self._confine(session)

    def upload(self, session: Any, library: str, name: str) -> None:
        """Send a library to a server, and before it what its instructions cost, if need be."""
        if self.processor is not None:
            with tempfile.TemporaryDirectory(prefix="tvm-prune-costs-") as folder:
                path, table = Path(library), Path(folder) / "costs"
                write_table(instruction_costs(path, self.processor), path, table)
                session.upload(str(table), f"{name}.costs")
        session.upload(library, name)

    def _confine(self, session: Any) -> None:
        cores = ",".join(map(str, self.cores))
        try:
            use_cores = session.get_function(_USE_CORES)
        except AttributeError as error:
            raise MeasureError(
                f"the board file asks for the cores {cores}, which only tvm-prune's agent can "
                "choose; run it on the board, or leave `measure.cores` out and start TVM's own "
                f"server with `TVM_BIND_THREADS=0 TVM_NUM_THREADS={len(self.cores)} "
                f"taskset -c {cores}`"
            ) from error
        use_cores(cores)
