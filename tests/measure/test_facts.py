"""What servers tell of their boards, and what of it is kept with a measurement."""

from __future__ import annotations

from pathlib import Path

from support.emulated import session

from tvm_prune.emulator import EmulatedBoard
from tvm_prune.latency import RecordKey, open_records
from tvm_prune.machine import UNKNOWN, Conditions
from tvm_prune.measure.facts import conditions_of, describe_server
from tvm_prune.measurement import Failure, Measurement

FACTS = {
    "machine": "aarch64",
    "features": "fp asimd",
    "cores": 4,
    "clock": "seconds",
    "frequency_hz": 1.5e9,
    "governor": "ondemand",
    "temperature_c": 71.5,
    "throttled": "50000",
}


def test_what_changes_is_kept_and_the_rest_is_not() -> None:
    kept = Conditions(1.5e9, "ondemand", temperature_c=71.5, throttled="50000")
    assert conditions_of(FACTS) == kept
    assert conditions_of({}) == UNKNOWN


def test_an_emulated_board_tells_of_its_host_which_is_not_kept() -> None:
    assert conditions_of({**FACTS, "clock": "instructions"}) == UNKNOWN


def test_conditions_are_on_disk_with_the_measurement(tmp_path: Path) -> None:
    measured = Measurement((1.0, 2.0), "seconds", conditions_of(FACTS))
    outcomes = {
        RecordKey("board", "kernel", "fine"): measured,
        RecordKey("board", "kernel", "failed"): Failure("run", "cause"),
    }
    with open_records(tmp_path / "measurements.sqlite") as records:
        records.put(outcomes)
    with open_records(tmp_path / "measurements.sqlite") as records:
        assert {key: records.get(key) for key in outcomes} == outcomes


def test_an_agent_tells_what_it_is() -> None:
    board = EmulatedBoard("cortex-a53", "board")
    try:
        with session(board) as ours:
            facts = describe_server(ours)
    finally:
        board.close()
    assert facts["machine"] == "aarch64"
    assert "asimd" in facts["features"].split()
    assert "asimdhp" not in facts["features"].split()
    assert facts["cores"] >= 1
    assert facts["clock"] == "instructions"
