"""What a fault of a Cortex-M means, from the registers that the firmware reports."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

_WORDS = struct.Struct("<7I")

CAUSES: Mapping[int, str] = {
    0: "instruction fetch from memory that must not be executed",
    1: "stack overflow (access to its guard)",
    3: "memory protection while an exception returned",
    4: "stack overflow (memory protection while an exception began)",
    8: "bus error on an instruction fetch",
    9: "bus error on a data access",
    10: "bus error on an earlier data access",
    11: "bus error while an exception returned",
    12: "stack overflow (bus error while an exception began)",
    13: "bus error while floating-point registers were saved",
    16: "undefined instruction",
    17: "switch to the Arm instruction set, which the processor lacks",
    18: "invalid exception return",
    19: "floating-point instruction while the unit is off",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}
"""Bits of the Configurable Fault Status Register (Armv8-M Architecture Reference Manual)."""

_MEMORY_ADDRESS_VALID = 1 << 7
_BUS_ADDRESS_VALID = 1 << 15


def fault_text(payload: bytes, function_at: Callable[[int], str]) -> str:
    """One line about a fault.

    Args:
        payload: of the frame ``F``: program counter, link register, CFSR, HFSR, MMFAR, BFAR, and
            the distance of the stack pointer from the end of the stack.
        function_at: names the function at an address.
    """
    counter, _, status, hard, memory, bus, room = _WORDS.unpack(payload[: _WORDS.size])
    causes = [text for bit, text in CAUSES.items() if status >> bit & 1]
    overflowed = counter == 0 or room >= 1 << 31 or room < 32
    if not causes:
        causes = [f"unknown cause (CFSR {status:#010x}, HFSR {hard:#010x})"]
    if overflowed and not any("stack" in cause for cause in causes):
        causes.append("the stack overflowed")
    if status & _BUS_ADDRESS_VALID:
        causes.append(f"at address {bus:#010x}")
    elif status & _MEMORY_ADDRESS_VALID:
        causes.append(f"at address {memory:#010x}")
    where = f"at {counter:#010x} in {function_at(counter)}" if counter else "at an unknown place"
    return f"the firmware faulted {where}: {', '.join(causes)}"
