"""The page of supported ops, made from the op table itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvm_prune.channels.ops import OP_TABLES
from tvm_prune.channels.rule import OpRule, OpTable
from tvm_prune.transform.canonicalize import REWRITES
from tvm_prune.transform.emitted_functions import EMITTED

HEAD = """\
# Supported ops

This page is the output of `tvm-prune supported-ops`.

What an op does with the channels of its inputs is one row of the op table. A channel *stays* where
it cannot be removed without changing what the op computes; `tvm-prune inspect` names the op that
holds it. Ops with *statistics* compute over channels, as a layer norm or a softmax does: the pruned
model counts the channels that are left, and equals the dense model with the others left out of the
count. An op without a row is a barrier: everything it touches stays, and `inspect` counts it.
"""

REWRITTEN = """\
## Rewritten on import

These are written as other ops before channels are looked at.
"""

RAISED = """\
## Kernels that importers emit

`call_tir` of these TOPI functions is raised back to the Relax op it stands for:
"""


@dataclass(frozen=True)
class SupportedOps:
    """Ops that treat channels alike.

    Attributes:
        theme: heading on the page.
        ops: Relax names without ``relax.``, sorted.
        channels: how labels pass, in one sentence.
        constraints: what cannot be pruned, or goes together; empty where nothing is special.
        statistics: whether the op computes statistics over channels.
    """

    theme: str
    ops: tuple[str, ...]
    channels: str
    constraints: str
    statistics: bool


def supported_ops() -> list[SupportedOps]:
    """All rows of the op table, those with the same rule together."""
    return [entry for theme, table in OP_TABLES.items() for entry in _entries(theme, table)]


def supported_ops_json() -> list[dict[str, Any]]:
    """The rows of the page for machines."""
    return [asdict(entry) for entry in supported_ops()]


def supported_ops_text() -> str:
    """The page of supported ops in Markdown."""
    entries = supported_ops()
    parts = [HEAD]
    for theme in OP_TABLES:
        rows = [
            (
                _names(entry.ops),
                entry.channels,
                entry.constraints,
                "yes" if entry.statistics else "",
            )
            for entry in entries
            if entry.theme == theme
        ]
        parts += [f"## {theme}\n", _table(("Op", "Channels", "Constraints", "Statistics"), rows)]
    rewritten = [(f"`{_short(name)}`", _paragraphs(rule)[0]) for name, rule in REWRITES.items()]
    parts += [REWRITTEN, _table(("Op", "Becomes"), rewritten)]
    parts += [RAISED, _names(tuple(EMITTED)) + ".\n"]
    return "\n".join(parts)


def _entries(theme: str, table: OpTable) -> list[SupportedOps]:
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for name, rule in table.items():
        alike.setdefault((*_sentences(rule), rule.masked is not None), []).append(_short(name))
    return [SupportedOps(theme, tuple(sorted(names)), *key) for key, names in alike.items()]


def _sentences(rule: OpRule) -> tuple[str, str]:
    """How channels pass, and what constrains them: the paragraphs of the rule's docstring."""
    first, *rest = _paragraphs(rule.labels)
    return first, " ".join(rest)


def _paragraphs(function: Any) -> list[str]:
    text = inspect.getdoc(function) or ""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _short(name: str) -> str:
    return name.removeprefix("relax.")


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(_cell(text) for text in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
