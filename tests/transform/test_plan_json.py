"""Plans survive a round trip through JSON, and nothing else is taken for a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.errors import PlanError
from tvm_prune.plan import GroupWidth, PruningPlan

names = st.text(min_size=1, max_size=12)
indices = st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(
    lambda found: tuple(sorted(found))
)
kept = st.dictionaries(names, st.dictionaries(st.integers(0, 4), indices, max_size=2), max_size=4)
widths = st.lists(
    st.builds(GroupWidth, group=names, dense=st.integers(1, 99), kept=st.integers(1, 99)),
    max_size=3,
).map(tuple)


@st.composite
def plans(draw: Any) -> PruningPlan:
    chosen = draw(kept)
    shapes = {name: tuple(draw(st.lists(st.integers(1, 64), max_size=4))) for name in chosen}
    return PruningPlan(chosen, shapes, draw(widths))


@given(plans())
def test_a_plan_survives_json(plan: PruningPlan) -> None:
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_a_plan_survives_a_file(tmp_path: Path) -> None:
    plan = PruningPlan({"w": {0: (1, 3)}}, {"w": (4, 2)}, (GroupWidth("w", 4, 2),))
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan


def valid() -> dict[str, Any]:
    return {
        "format": 1,
        "groups": [{"name": "w", "dense": 4, "kept": 2}],
        "parameters": {"w": {"shape": [4, 2], "kept": {"0": [1, 3]}}},
    }


def test_the_valid_example_is_valid() -> None:
    assert PruningPlan.from_json(json.dumps(valid())).kept == {"w": {0: (1, 3)}}


def without(key: str) -> str:
    return json.dumps({name: value for name, value in valid().items() if name != key})


def with_kept(kept_entry: Any) -> str:
    data = valid()
    data["parameters"]["w"]["kept"] = kept_entry
    return json.dumps(data)


MALFORMED = {
    "empty": "",
    "not JSON": "kept: everything",
    "cut off": json.dumps(valid())[:-10],
    "null": "null",
    "number": "3",
    "list": "[]",
    "no format": without("format"),
    "no groups": without("groups"),
    "no parameters": without("parameters"),
    "parameters are a list": json.dumps(valid() | {"parameters": ["w"]}),
    "no shape": json.dumps(valid() | {"parameters": {"w": {"kept": {"0": [1]}}}}),
    "axis is a word": with_kept({"rows": [1, 3]}),
    "kept is a number": with_kept({"0": 2}),
    "kept is a list": with_kept([1, 3]),
    "groups without names": json.dumps(valid() | {"groups": [{"dense": 4, "kept": 2}]}),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_a_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="This is not a pruning plan"):
        PruningPlan.from_json(text)


def test_another_format_is_refused_with_both_numbers() -> None:
    with pytest.raises(PlanError, match=r"format 2, but this version reads 1"):
        PruningPlan.from_json(json.dumps(valid() | {"format": 2}))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"Cannot read the plan .*none\.json"):
        PruningPlan.load(tmp_path / "none.json")


def test_a_binary_file_is_not_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(PlanError):
        PruningPlan.load(path)
