"""Frames of the byte stream between the firmware and this computer.

A frame is ``A5 5A``, kind, sequence number, length of the payload (2 bytes), payload, and the
CRC-32 (4 bytes) of everything between the first two bytes and itself; numbers are little-endian.
The firmware's side is ``targets/firmware/frames.c``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

MARK = b"\xa5\x5a"
PAYLOAD = 1024
"""Most bytes that one frame carries."""

_HEADER = struct.Struct("<BBH")
_CHECKSUM = struct.Struct("<I")
FLUSH = bytes(PAYLOAD + 64)
"""More bytes than a frame has: ends one that was cut before it reached the firmware."""


@dataclass(frozen=True)
class Frame:
    """One request or reply.

    Attributes:
        kind: one letter.
        sequence: number of the request, 0..255; a reply has that of its request.
        payload: at most ``PAYLOAD`` bytes.
    """

    kind: str
    sequence: int
    payload: bytes = b""

    def encoded(self) -> bytes:
        """The frame as it is sent."""
        body = _HEADER.pack(ord(self.kind), self.sequence, len(self.payload)) + self.payload
        return MARK + body + _CHECKSUM.pack(zlib.crc32(body))


@dataclass
class FrameReader:
    """Finds frames in a byte stream, whatever lies between them.

    Attributes:
        spoiled: places that began like a frame but had a wrong checksum or an impossible length.
    """

    spoiled: int = 0
    _bytes: bytearray = field(default_factory=bytearray)

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._bytes)

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that are complete now that more bytes have come."""
        self._bytes += data
        found: list[Frame] = []
        while True:
            start = self._bytes.find(MARK)
            if start < 0:
                del self._bytes[: max(0, len(self._bytes) - 1)]
                return found
            del self._bytes[:start]
            frame = self._first()
            if frame is None and self._is_incomplete():
                return found
            if frame is None:
                self.spoiled += 1
                del self._bytes[:1]
            else:
                found.append(frame)
                del self._bytes[: len(frame.encoded())]

    def clear(self) -> None:
        """Forget what has come of an unfinished frame."""
        self._bytes.clear()

    def _length(self) -> int | None:
        """Length of the payload, where the header has come."""
        if len(self._bytes) < len(MARK) + _HEADER.size:
            return None
        return int(_HEADER.unpack_from(self._bytes, len(MARK))[2])

    def _is_incomplete(self) -> bool:
        length = self._length()
        if length is None:
            return True
        whole = len(MARK) + _HEADER.size + length + _CHECKSUM.size
        return length <= PAYLOAD and len(self._bytes) < whole

    def _first(self) -> Frame | None:
        """The frame that the bytes start with, where it is complete and its checksum is right."""
        length = self._length()
        if length is None or length > PAYLOAD or self._is_incomplete():
            return None
        end = len(MARK) + _HEADER.size + length
        body = bytes(self._bytes[len(MARK) : end])
        if zlib.crc32(body) != _CHECKSUM.unpack_from(self._bytes, end)[0]:
            return None
        kind, sequence, _ = _HEADER.unpack_from(body)
        return Frame(chr(kind), sequence, body[_HEADER.size :])
