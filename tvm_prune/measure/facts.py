"""What a server tells about its board."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tvm_prune.machine import UNKNOWN, Conditions
from tvm_prune.units import SECONDS

_DESCRIBE = "tvm_prune.agent.describe"


def describe_server(session: Any) -> dict[str, Any]:
    """What the agent at the other end of a session tells of its board; TVM's own server: nothing.

    Raises:
        Exception: of any kind, if the session is dead.
    """
    try:
        describe = session.get_function(_DESCRIBE)
    except AttributeError:
        return {}
    facts: dict[str, Any] = json.loads(describe())
    return facts


def conditions_of(facts: Mapping[str, Any]) -> Conditions:
    """The part of a server's facts that changes from one measurement to the next.

    Nothing of a board that does not measure in seconds: it is emulated, and tells of its host.
    """
    if facts.get("clock", SECONDS) != SECONDS:
        return UNKNOWN
    names = {field.name for field in fields(Conditions)}
    return Conditions(**{name: value for name, value in facts.items() if name in names})
