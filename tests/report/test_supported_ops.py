"""The page of supported ops is made from the op table, and is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tvm_prune.channels.ops import OP_TABLES, OPS
from tvm_prune.cli import main
from tvm_prune.report.supported_ops import (
    SupportedOps,
    supported_ops,
    supported_ops_json,
    supported_ops_text,
)

PAGE = Path(__file__).parents[2] / "docs" / "supported-ops.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == supported_ops_text(), (
        "The op table has changed; run: tvm-prune supported-ops > docs/supported-ops.md"
    )


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supported-ops"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")


def test_the_command_prints_the_rows_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supported-ops", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads(json.dumps(supported_ops_json()))


def test_every_row_is_on_the_page_once() -> None:
    names = [f"relax.{name}" for entry in supported_ops() for name in entry.ops]
    assert sorted(names) == sorted(OPS)


def test_no_op_is_in_two_tables() -> None:
    assert sum(len(table) for table in OP_TABLES.values()) == len(OPS)


@pytest.mark.parametrize("entry", supported_ops(), ids=lambda entry: entry.ops[0])
def test_every_row_says_in_sentences_what_it_does(entry: SupportedOps) -> None:
    assert entry.channels.endswith(".")
    assert not entry.constraints or entry.constraints.endswith(".")
    assert ".." not in entry.channels + entry.constraints


def test_statistics_are_those_of_the_table() -> None:
    told = {f"relax.{name}" for entry in supported_ops() if entry.statistics for name in entry.ops}
    assert told == {name for name, rule in OPS.items() if rule.masked is not None}
    assert {"relax.nn.softmax", "relax.mean"} <= told
    assert not {"relax.nn.conv2d", "relax.add"} & told
