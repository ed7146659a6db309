"""Run firmware under QEMU, which counts its instructions exactly.

Requests and replies are files that the firmware reads and writes through semihosting. With
``-icount`` every instruction takes the same emulated time, so the counter of the emulated board
counts instructions: the same at every run, whatever else this machine does.
"""

from __future__ import annotations

import contextlib
import math
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu.dialogue import Request
from tvm_prune.mcu.faults import fault_text
from tvm_prune.mcu.firmware import how_to_install
from tvm_prune.mcu.frames import Frame, FrameReader

EMULATOR = "qemu-system-arm"
REQUESTS, REPLIES = "requests.bin", "replies.bin"
_OPTIONS = (
    *("-nographic", "-monitor", "none", "-serial", "none"),
    *("-semihosting-config", "enable=on,target=native"),
    *("-icount", "shift=7,sleep=off"),
)


_PATIENCE = 20
"""Seconds to wait for one of processor time, on the busiest of machines."""


@dataclass(frozen=True)
class QemuLink:
    """Runs a firmware from its start for each exchange.

    Attributes:
        machine: what QEMU calls the board.
        elf: the firmware.
        function_at: names the function at an address of it, for errors.
        timeout: seconds of processor time that one exchange may take.
        options: more options for QEMU.
    """

    machine: str
    elf: Path
    function_at: Callable[[int], str] = lambda _address: "??"
    timeout: float = 60.0
    options: tuple[str, ...] = ()

    def exchange(self, requests: Sequence[Request]) -> list[bytes]:
        """Payloads of the replies; see :class:`~tvm_prune.mcu.dialogue.Link`."""
        frames = [
            Frame(kind, number % 255, payload) for number, (kind, payload) in enumerate(requests)
        ]
        with tempfile.TemporaryDirectory(prefix="tvm-prune-qemu-") as folder:
            place = Path(folder)
            (place / REQUESTS).write_bytes(b"".join(frame.encoded() for frame in frames))
            complaint = self._run(place)
            replies = place / REPLIES
            answers = FrameReader().feed(replies.read_bytes() if replies.exists() else b"")
        for answer in answers:
            if answer.kind == "F":
                raise MeasureError(fault_text(answer.payload, self.function_at))
            if answer.kind == "E":
                raise MeasureError(f"the firmware refuses: {_text(answer.payload)}")
        if len(answers) != len(frames):
            raise MeasureError(
                f"the firmware answered {len(answers)} of {len(frames)} requests"
                + (f": {complaint}" if complaint else "")
            )
        return [answer.payload for answer in answers]

    def _run(self, place: Path) -> str:
        """Run the emulator to the end of the requests; what it complains about."""
        command = [
            *(EMULATOR, "-M", self.machine, *_OPTIONS, *self.options),
            *("-kernel", str(self.elf.resolve())),
        ]
        try:
            emulator = subprocess.Popen(
                command, cwd=place, text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise BoardError(f"{EMULATOR} is not installed: {how_to_install(EMULATOR)}.") from error
        with emulator:
            limit_processor_time(emulator.pid, self.timeout)
            try:
                _, errors = emulator.communicate(timeout=self.timeout * _PATIENCE)
            except subprocess.TimeoutExpired:
                emulator.kill()
                errors = ""
        if emulator.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise MeasureError(
                f"the firmware did not finish within {self.timeout:.0f} s and was killed"
            )
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        return lines[0] if lines else ""


def limit_processor_time(process: int, seconds: float) -> None:
    """Let the system end a process that has used up its time, however busy the machine is."""
    most = math.ceil(seconds)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(process, resource.RLIMIT_CPU, (most, most + 1))


def emulator_installed() -> bool:
    """Whether QEMU is on the PATH."""
    return shutil.which(EMULATOR) is not None


def _text(payload: bytes) -> str:
    return payload.split(b"\0")[0].decode(errors="replace")
