"""This machine, as far as it tells: its CPU, and what it was doing while something was measured."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

PROCESSORS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Conditions:
    """What a machine did while it measured; None where it does not tell, as many VMs do not.

    Attributes:
        frequency_hz: mean clock frequency of the processors.
        governor: what sets that frequency, for example ``performance``; several are joined by
            commas.
        load_average: processes that ran or wanted to, mean over the last minute.
        temperature_c: of the processor, in degrees Celsius.
        throttled: whether heat or the power supply slowed it down, in the words of its firmware.
    """

    frequency_hz: float | None = None
    governor: str | None = None
    load_average: float | None = None
    temperature_c: float | None = None
    throttled: str | None = None


UNKNOWN = Conditions()
"""Nothing was told."""


def conditions() -> Conditions:
    """What this machine is doing now."""
    return Conditions(_frequency(), governor(), _load_average())


def governor() -> str | None:
    """The frequency governors of the processors that this process may use."""
    return ",".join(sorted(set(_of_each_processor("scaling_governor")))) or None


def cpu_name() -> str:
    """Model name of this machine's CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def core_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def _frequency() -> float | None:
    kilohertz = [float(text) for text in _of_each_processor("scaling_cur_freq") if text.isdigit()]
    return statistics.mean(kilohertz) * 1e3 if kilohertz else None


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _of_each_processor(fact: str) -> list[str]:
    """What the kernel's cpufreq says of each processor that says anything."""
    found = []
    for number in sorted(os.sched_getaffinity(0)):
        try:
            text = (PROCESSORS / f"cpu{number}" / "cpufreq" / fact).read_text(encoding="utf-8")
        except OSError:
            continue
        found.append(text.strip())
    return found
