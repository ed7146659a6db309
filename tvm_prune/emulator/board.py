"""One emulated board: a process that ends when its owner does, however that ends."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.agent import cached_agent
from tvm_prune.connections import ESTIMATED_CYCLES, INSTRUCTIONS
from tvm_prune.cycles import Processor
from tvm_prune.emulator.costs import library_costs
from tvm_prune.emulator.plugin import compiled_plugin
from tvm_prune.errors import BoardError, MeasureError

HOST = "127.0.0.1"
ARCHITECTURE = "aarch64"
TRIPLE = f"{ARCHITECTURE}-linux-gnu"

_CLOCK = "instruction_clock"
_EMULATOR = f"qemu-{ARCHITECTURE}"
_SYSROOT = Path("/usr/aarch64-linux-gnu")
_PORTS = "9300-9899"
_PATIENCE = 60.0
_LISTENING = re.compile(r"^listening at .*:(\d+)$", re.MULTILINE)


def check_cpu(cpu: str) -> str:
    """Check that QEMU emulates a CPU; returns its name.

    Raises:
        BoardError: if QEMU is not installed or does not know the CPU.
    """
    emulator = toolchain.require(_EMULATOR, "emulate a board")
    told = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, check=False)
    known = re.findall(r"^\s+([\w-]+)", told.stdout, re.MULTILINE)
    if cpu not in known:
        models = ", ".join(name for name in known if name.startswith(("cortex-a", "neoverse")))
        raise BoardError(f"{_EMULATOR} has no CPU '{cpu}'; it has, among others: {models}.")
    return cpu


@dataclass(eq=False)
class EmulatedBoard:
    """A board that lives as long as its owner; no two are equal.

    The thread that starts it is its owner: the kernel kills the board when that thread ends.

    Args:
        cpu: what QEMU calls the processor.
        key: what the board is called.
        tracker: ``HOST:PORT`` of the tracker to register with; none by default.
        cache: keeps the agent and the clock; the user's cache directory by default.
        clock: what its clock counts, ``instructions`` or ``estimated-cycles``.
    """

    cpu: str
    key: str
    tracker: str | None = None
    cache: Path | None = None
    clock: str = INSTRUCTIONS

    def __post_init__(self) -> None:
        emulator = toolchain.require(_EMULATOR, "emulate a board")
        toolchain.require("setpriv", "emulate a board")
        agent, plugin = cached_agent(ARCHITECTURE, self.cache), compiled_plugin(_CLOCK, self.cache)
        tables = self._library_costs()
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-prune-board-")
        folder = Path(self._folder.name)
        self.log = folder / "log"
        work, kept = folder / "work", folder / "kept"
        kept.mkdir()
        command = ["setpriv", "--pdeathsig", "KILL", "--", emulator, "-cpu", self.cpu]
        command += ["-L", str(_SYSROOT), "-E", "TVM_NUM_THREADS=1"]
        command += ["-plugin", ",".join([str(plugin), f"counted={work}/", *tables]), str(agent)]
        command += ["--key", self.key, "--port", _PORTS, "--work", str(work)]
        command += ["--clock", self.clock, "--cpu", self.cpu, "--keep", str(kept)]
        if self.tracker is not None:
            command += ["--tracker", self.tracker]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.port = self._await_port()

    @property
    def name(self) -> str:
        """``HOST:PORT``."""
        return f"{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """Switch it off."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    def _library_costs(self) -> list[str]:
        """What tells the clock the costs of the board's own libraries, where it counts costs."""
        if self.clock != ESTIMATED_CYCLES:
            return []
        processor = Processor(TRIPLE, self.cpu)
        tables = library_costs(processor, _SYSROOT / "lib", self.cache)
        return [f"{name}={table}" for name, table in tables.items()]

    def _await_port(self) -> int:
        deadline = time.monotonic() + _PATIENCE
        while self.alive and time.monotonic() < deadline:
            if found := _LISTENING.search(self.log.read_text(errors="replace")):
                return int(found.group(1))
            time.sleep(0.05)
        told = self.log.read_text(errors="replace").strip() or "it says nothing"
        self.close()
        raise MeasureError(f"The emulated board does not start: {told.splitlines()[-1]}")
