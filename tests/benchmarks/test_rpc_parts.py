"""Parts of the RPC benchmark are run one by one, and their rows come together in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.rpc import FAULTS, SESSIONS, Results, figures_of


def fault(moment: float, lost: int = 0) -> dict[str, Any]:
    """A fault at a moment of a measuring of two seconds."""
    return {"experiment": FAULTS, "moment": moment, "seconds": 2.0, "lost": lost, "wrong": 0}


def sessions(failures: int) -> dict[str, Any]:
    """A hundred sessions."""
    return {"experiment": SESSIONS, "sessions": 100, "failures": ["x"] * failures, "seconds": 0.1}


def test_a_part_that_is_run_again_replaces_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "rpc.json"
    first = Results(path)
    first.begin(FAULTS)
    first.add(fault(1.0, lost=1))
    first.begin(SESSIONS)
    first.add(sessions(failures=2))
    again = Results(path)
    again.forget(SESSIONS)
    again.begin(SESSIONS)
    again.add(sessions(failures=0))
    stored = json.loads(path.read_text())
    assert stored["figures"]["session_failures"] == 0
    assert stored["figures"]["lost_measurements"] == 1
    assert [row["of"] for row in stored["rows"] if row["experiment"] == "run"] == [FAULTS, SESSIONS]
    assert all(row["date"] for row in stored["rows"] if row["experiment"] == "run")


def test_an_interrupted_part_goes_on_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rpc.json"
    for _ in range(3):
        Results(path).add(sessions(failures=1))
    told = json.loads(path.read_text())["figures"]
    assert (told["sessions"], told["session_failures"]) == (300, 3)


def test_a_fault_that_came_after_the_measuring_is_not_counted() -> None:
    told = figures_of([fault(0.5), fault(1.9), fault(2.5)])
    assert told["faults_injected"] == 2
