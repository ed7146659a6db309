"""The accuracy benchmark's figures, computed from its rows, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.accuracy_sides import OURS, RIVAL

Row = dict[str, Any]
Place = tuple[str, int, float]
"""Architecture, seed and latency ratio."""

HALF = 0.5
"""The latency ratio that is bounded."""


def best_rivals(rows: Sequence[Row]) -> dict[Place, Row]:
    """Of Torch-Pruning's rows at each place, the one that is best without fine-tuning."""
    best: dict[Place, Row] = {}
    for row in rows:
        if not row["side"].startswith(RIVAL) or "failure" in row:
            continue
        if row["accuracy"] > best.get(_place(row), {"accuracy": -1.0})["accuracy"]:
            best[_place(row)] = row
    return best


def compared(rows: Sequence[Row]) -> dict[str, dict[Place, Row]]:
    """Rows by side, ours first, the best of Torch-Pruning as one of them, failures left out."""
    found: dict[str, dict[Place, Row]] = {OURS: {}, RIVAL: best_rivals(rows)}
    for row in rows:
        if not row["side"].startswith(RIVAL) and "failure" not in row:
            found.setdefault(row["side"], {})[_place(row)] = row
    return found


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """The summary: medians over the seeds, and the distance of the highest and the lowest."""
    found: dict[str, float] = {}
    worst: dict[str, list[float]] = {"drop": [], "lead": [], "finetuned_lead": []}
    sides = compared(rows)
    mine, others = sides[OURS], sides[RIVAL]
    places = mine.keys() & others.keys()
    for name, ratio in sorted({(name, ratio) for name, _, ratio in places}):
        own = [place for place in places if place[::2] == (name, ratio)]
        leads = [_leads(mine[place], others[place]) for place in own]
        label = f"{name}_{ratio:g}".replace(".", "_")
        for key in worst:
            values = [100 * lead[key] for lead in leads if key in lead]
            if not values:
                continue
            found[f"{key}_points_{label}"] = statistics.median(values)
            found[f"{key}_spread_{label}"] = max(values) - min(values)
            if ratio == HALF or key == "finetuned_lead":
                worst[key].append(found[f"{key}_points_{label}"])
    if worst["drop"]:
        found["drop_points_worst_at_half"] = max(worst["drop"])
        found["lead_over_torch_pruning_points_at_half"] = min(worst["lead"])
    if worst["finetuned_lead"]:
        found["finetuned_lead_points_worst"] = min(worst["finetuned_lead"])
    return found


def _leads(mine: Row, other: Row) -> dict[str, float]:
    """Ours against the best of Torch-Pruning, for one network and ratio."""
    leads = {
        "drop": mine["dense_accuracy"] - mine["accuracy"],
        "lead": mine["accuracy"] - other["accuracy"],
    }
    if mine["finetuned"] is not None and other["finetuned"] is not None:
        leads["finetuned_lead"] = mine["finetuned"] - other["finetuned"]
    return leads


def table_of(rows: Sequence[Row]) -> Table:
    """Medians over the seeds, before and after fine-tuning, each with its spread and count."""
    names = sorted({row["architecture"] for row in rows})
    ratios = sorted({row["ratio"] for row in rows}, reverse=True)
    table = Table("budget", "side", *names, title="accuracy, fine-tuned accuracy (spread, seeds)")
    sides = compared(rows)
    for ratio in ratios:
        for side, found in sides.items():
            cells = []
            for name in names:
                own = [row for place, row in found.items() if place[::2] == (name, ratio)]
                tuned = [row["finetuned"] for row in own if row["finetuned"] is not None]
                cells.append(f"{_median([row['accuracy'] for row in own])}\n{_median(tuned)}")
            table.add_row(f"{ratio:g}x", side, *cells)
    return table


def _median(shares: Sequence[float]) -> str:
    if not shares:
        return "-"
    spread = max(shares) - min(shares)
    return f"{statistics.median(shares):.2%} ({spread * 100:.2f}, {len(shares)})"


def _place(row: Row) -> Place:
    return row["architecture"], row["seed"], row["ratio"]
