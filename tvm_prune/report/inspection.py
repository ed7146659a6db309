"""What can be pruned in a model, and what cannot and why."""

from __future__ import annotations

from typing import Any

from tvm_prune.channels import Channels
from tvm_prune.model import Model
from tvm_prune.report.tables import text_table


def inspection_json(model: Model, channels: Channels) -> dict[str, Any]:
    """Groups, frozen axes and barriers of a model, for machines."""
    return {
        "model": model.name,
        "parameters": model.parameter_count,
        "groups": [
            {
                "name": group.name,
                "width": group.width,
                "slices": [f"{entry.parameter}[{entry.axis}]" for entry in group.slices],
            }
            for group in channels.groups
        ],
        "frozen": [vars(entry) for entry in channels.frozen],
        "barriers": [vars(barrier) for barrier in channels.labelling.barriers],
    }


def inspection_text(model: Model, channels: Channels) -> str:
    """Groups, frozen axes and barriers of a model, for people."""
    inputs = ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in model.inputs)
    parts = [
        f"{model.name}: {model.parameter_count:,} parameters; input {inputs}",
        f"{len(channels.groups)} groups with {channels.unit_count:,} units can be pruned:",
        text_table(
            ("group", "width", "slices"),
            [(group.name, group.width, len(group.slices)) for group in channels.groups],
        ),
    ]
    if channels.frozen:
        parts += [
            "Frozen:",
            text_table(
                ("parameter axis", "extent", "because it"),
                [
                    (f"{entry.parameter}[{entry.axis}]", entry.extent, entry.reason)
                    for entry in channels.frozen
                ],
            ),
        ]
    for barrier in channels.labelling.barriers:
        parts.append(
            f"Barrier: {barrier.op} occurs {barrier.count} times; what it touches is frozen."
        )
    return "\n".join(parts)
