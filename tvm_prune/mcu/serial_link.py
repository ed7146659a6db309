"""Talk to firmware over a serial port: a reply for each request, asked again where it is spoiled.

The port is any that pyserial opens: a device, or a URL such as ``socket://HOST:PORT``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu.dialogue import Request
from tvm_prune.mcu.faults import fault_text
from tvm_prune.mcu.frames import FLUSH, Frame, FrameReader

TRIES = 3
_STEP = 0.05
"""Seconds that one look for more bytes takes at most."""


@dataclass
class SerialLink:
    """A board behind a serial port.

    Attributes:
        port: device or URL.
        baud: bits a second.
        function_at: names the function at an address of the firmware, for errors.
        silence: seconds without an answer after which a request is made again.
        run_timeout: seconds that running the model may take.
    """

    port: str
    baud: int
    function_at: Callable[[int], str] = lambda _address: "??"
    silence: float = 2.0
    run_timeout: float = 30.0
    _sequence: int = field(default=0)

    def exchange(self, requests: Sequence[Request]) -> list[bytes]:
        """Payloads of the replies; see :class:`~tvm_prune.mcu.dialogue.Link`."""
        connection = _opened(self.port, self.baud)
        try:
            connection.reset_input_buffer()
            return [self._answer(connection, *request) for request in requests]
        except OSError as error:
            raise MeasureError(f"the serial port {self.port} broke off: {error}") from error
        finally:
            connection.close()

    def _answer(self, connection: Any, kind: str, payload: bytes) -> bytes:
        """The reply to one request, which is made up to three times."""
        self._sequence = (self._sequence + 1) % 256
        request = Frame(kind, self._sequence, payload)
        reader = FrameReader()
        heard = 0
        for attempt in range(TRIES):
            if attempt:
                connection.write(FLUSH)
                reader.clear()
            connection.write(request.encoded())
            reply, count = self._reply(connection, reader, request)
            heard += count
            if reply is not None:
                return reply.payload
        raise MeasureError(self._complaint(heard, reader))

    def _reply(
        self, connection: Any, reader: FrameReader, request: Frame
    ) -> tuple[Frame | None, int]:
        """The reply, or None where it did not come in time, and the bytes that came."""
        patience = self.run_timeout if request.kind == "R" else self.silence
        deadline, heard = time.monotonic() + patience, 0
        while time.monotonic() < deadline:
            data = connection.read(max(1, connection.in_waiting))
            if data:  # the rest of the reply follows soon, or never
                deadline = min(deadline, time.monotonic() + self.silence)
            heard += len(data)
            for frame in reader.feed(data):
                if frame.kind == "F":
                    raise MeasureError(fault_text(frame.payload, self.function_at))
                if frame.sequence != request.sequence:
                    continue
                if frame.kind == "E":
                    reason = frame.payload.split(b"\0")[0].decode(errors="replace")
                    raise MeasureError(f"the firmware refuses: {reason}")
                if frame.kind == request.kind:
                    return frame, heard
        return None, heard

    def _complaint(self, heard: int, reader: FrameReader) -> str:
        where = f"the board on {self.port}"
        if not heard:
            return f"{where} is silent: no answer to {TRIES} requests; is the firmware running?"
        if reader.spoiled:
            return (
                f"what {where} sends is garbled: {reader.spoiled} frames with a wrong checksum in "
                f"{TRIES} tries; is the baud rate {self.baud}?"
            )
        return f"the answers of {where} are cut off: {heard} bytes, but no whole frame"


def _opened(port: str, baud: int) -> Any:
    try:
        import serial
    except ImportError as error:
        raise BoardError(
            "A board behind a serial port needs pyserial: pip install 'tvm-prune[serial]'."
        ) from error
    try:
        return serial.serial_for_url(port, baudrate=baud, timeout=_STEP, write_timeout=10.0)
    except (serial.SerialException, ValueError) as error:
        raise BoardError(f"Cannot open the serial port {port}: {error}.") from error
