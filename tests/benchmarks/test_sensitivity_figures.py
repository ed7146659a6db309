"""What the sensitivity benchmark makes of its rows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sensitivity import LOSSES, ROOTS, SHARES, Row, figures_of


def pruned(power: float, seed: int) -> list[Row]:
    """Networks that lose a tenth of a norm of what their groups lose."""
    parts = np.random.default_rng(seed).exponential(size=(20, 6))
    norms = (parts**power).sum(axis=1) ** (1 / power)
    told = {"experiment": "together", "architecture": "small", "seed": seed}
    return [
        {**told, "losses": losses.tolist(), "loss": norm / 10}
        for losses, norm in zip(parts, norms, strict=True)
    ]


def planned(seed: int, objective: str, accuracy: float) -> list[Row]:
    told = {"experiment": "equal work", "architecture": "small", "seed": seed}
    rows = [{"share": share, "objective": objective, "accuracy": accuracy} for share in SHARES]
    return [told | row for row in rows]


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_nothing_scatters_about_the_norm_that_networks_follow(power: float) -> None:
    figures = figures_of([row for seed in (0, 1) for row in pruned(power, seed)])
    name = "scatter_percent_power_{:g}"
    own = figures[name.format(power).replace(".", "_")]
    other = figures[name.format(1.5 - power).replace(".", "_")]
    assert own == pytest.approx(0, abs=1e-9)
    assert other > 5


def test_a_lead_is_the_mean_over_networks_with_its_error() -> None:
    rows = [
        row
        for seed, lead in ((0, 0.01), (1, 0.03))
        for objective, accuracy in ((LOSSES, 0.8), (ROOTS, 0.8 + lead))
        for row in planned(seed, objective, accuracy)
    ]
    figures = figures_of(rows)
    for share in SHARES:
        name = f"accuracy_lead_points_{share:g}".replace(".", "_")
        assert figures[name] == pytest.approx(2)
        assert figures[f"{name}_error"] == pytest.approx(1)
