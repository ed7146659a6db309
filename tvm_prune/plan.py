"""Pruning plans: what is kept, by parameter name and axis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvm_prune.errors import PlanError

FORMAT = 1


@dataclass(frozen=True)
class GroupWidth:
    """Width of one group before and after."""

    group: str
    dense: int
    kept: int


@dataclass(frozen=True)
class PruningPlan:
    """What is kept of a model.

    Attributes:
        kept: for each parameter, the indices that stay along each pruned axis, ascending.
        shapes: dense shape of each parameter named in `kept`.
        widths: width of every group before and after, for people to read.
        attention: what the plan takes out of attention layers, ``dims`` or ``heads``.
    """

    kept: Mapping[str, Mapping[int, tuple[int, ...]]]
    shapes: Mapping[str, tuple[int, ...]]
    widths: tuple[GroupWidth, ...] = ()
    attention: Literal["dims", "heads"] = "dims"

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(
            {
                "format": FORMAT,
                "attention": self.attention,
                "groups": [
                    {"name": entry.group, "dense": entry.dense, "kept": entry.kept}
                    for entry in self.widths
                ],
                "parameters": {
                    name: {
                        "shape": list(self.shapes[name]),
                        "kept": {str(axis): list(indices) for axis, indices in axes.items()},
                    }
                    for name, axes in self.kept.items()
                },
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """Read a plan.

        Raises:
            PlanError: if the text is not a plan of this format.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            if data["format"] != FORMAT:
                raise PlanError(
                    f"The plan has format {data['format']}, but this version reads {FORMAT}; "
                    "make it again with `tvm-prune prune`."
                )
            parameters = data["parameters"]
            return cls(
                kept={
                    name: {int(axis): tuple(indices) for axis, indices in entry["kept"].items()}
                    for name, entry in parameters.items()
                },
                shapes={name: tuple(entry["shape"]) for name, entry in parameters.items()},
                widths=tuple(
                    GroupWidth(entry["name"], entry["dense"], entry["kept"])
                    for entry in data["groups"]
                ),
                attention="heads" if data.get("attention") == "heads" else "dims",
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(f"This is not a pruning plan: {error!r}.") from error

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PruningPlan:
        """Read a plan file.

        Raises:
            PlanError: if the file is missing or not a plan.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"Cannot read the plan {path}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise PlanError(f"{path} is not a pruning plan: it is not text.") from error
