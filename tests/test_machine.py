"""What the machine tells about itself, from files like those of a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvm_prune import machine
from tvm_prune.machine import conditions, governor


@pytest.fixture
def processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of two processors that tell nothing yet."""
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2})
    return tmp_path


def tell(processors: Path, number: int, **facts: str) -> None:
    folder = processors / f"cpu{number}" / "cpufreq"
    folder.mkdir(parents=True)
    for name, text in facts.items():
        (folder / name).write_text(text + "\n")


def test_frequency_and_governor_are_those_of_the_processors_that_may_be_used(
    processors: Path,
) -> None:
    tell(processors, 0, scaling_cur_freq="1400000", scaling_governor="schedutil")
    tell(processors, 1, scaling_cur_freq="9999999", scaling_governor="powersave")
    tell(processors, 2, scaling_cur_freq="1600000", scaling_governor="schedutil")
    assert conditions().frequency_hz == 1.5e9
    assert conditions().governor == governor() == "schedutil"


def test_different_governors_are_all_told(processors: Path) -> None:
    tell(processors, 0, scaling_governor="performance")
    tell(processors, 2, scaling_governor="ondemand")
    assert governor() == "ondemand,performance"


def test_a_machine_that_does_not_tell_gives_none(
    processors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> tuple[float, float, float]:
        raise OSError("no load average here")

    monkeypatch.setattr(os, "getloadavg", refused)
    tell(processors, 0, scaling_cur_freq="<unknown>")
    assert conditions() == machine.UNKNOWN


def test_the_load_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 9.0, 9.0))
    assert conditions().load_average == 1.5
