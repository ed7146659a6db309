"""Pruned variants of whole models: predicted, built, measured in turns with the dense model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.kernel_samples import Subject
from benchmarks.predictors import Predictor, as_text
from tvm_prune.channels import Limits
from tvm_prune.errors import PruneError
from tvm_prune.latency import Widths, friendly_widths_near

Total = Callable[[Widths], float]
"""Predicted cost of all kernel calls of a model at the given width of every group."""

NARROWEST, WIDEST = 0.3, 0.9
"""Share of a group that a variant keeps."""
_AROUND = 0.2
"""How far the groups of one variant are from its own share, at most."""


def draw_variants(dense: Widths, limits: Limits, count: int, seed: int) -> list[Widths]:
    """Random variants at widths that schedules like, from narrow ones to wide ones.

    A variant has a share of its own, and every group one around it: if each group had any share,
    all variants would be about equally fast.
    """
    generator = np.random.default_rng(seed)
    variants = []
    for _ in range(count):
        share = generator.uniform(NARROWEST, WIDEST)
        shares = generator.uniform(share - _AROUND, share + _AROUND, len(dense))
        wanted = np.clip(shares, NARROWEST, WIDEST) * np.array(dense)
        variants.append(friendly_widths_near(limits, wanted.tolist()))
    return variants


def variant_rows(
    subject: Subject, count: int, seed: int, baselines: Mapping[str, Predictor]
) -> list[dict[str, Any]]:
    """Every variant with what was measured, measured again after all, and predicted.

    All methods get the same help, which the product has as well: the dense model is measured whole
    and, in seconds, three narrower ones, none of the variants. What they cost beyond their kernels,
    by what a method says of those, is added to its predictions by the byte and the call, which are
    then corrected by the ratio of measured to predicted cost. Ours also measures the kernels of
    these models and those that it may not predict, as the product does; ``unaided`` is what it says
    before.
    """
    models, compilation = subject.search.models, subject.search.compilation
    variants = draw_variants(subject.dense, compilation.limits, count, seed)
    dense = models.dense_cost()
    unaided = subject.latency_model
    predictors: dict[str, Total] = {
        "ours": subject.learned_what_is_unsure(variants).total,
        "unaided": unaided.total,
        **{name: _total(subject, predictor) for name, predictor in baselines.items()},
    }
    expected = {name: _corrected(subject, total) for name, total in predictors.items()}
    rows = []
    for number, widths in enumerate(variants, start=1):
        row = {
            "row": "variant",
            "model": subject.name,
            "widths": as_text(widths),
            "unit": dense.unit,
            "kernels_measured_before": _known_share(subject, widths),
            **{name: total(widths) for name, total in expected.items()},
        }
        try:
            row["measured"] = models.cost(widths).median
        except PruneError as error:
            row["failure"] = str(error)
        print(f"{subject.name}: variant {number} of {count}: {_line(row)}", flush=True)
        rows.append(row)
    for row, widths in zip(rows, variants, strict=True):
        if "measured" in row:
            with suppress(PruneError):
                row["again"] = _measured_again(subject, widths)
    return rows


def _corrected(subject: Subject, total: Total) -> Total:
    """Cost of a model, from that of its kernels and what the reference models cost."""
    models, kernels = subject.search.models, subject.latency_model
    around = models.surroundings(kernels, total)

    def predicted(widths: Widths) -> float:
        by_the_call = around.per_call * kernels.calls
        return total(widths) + around.per_byte * kernels.moved(widths) + by_the_call

    correction = models.correction(predicted)
    return lambda widths: correction.expected(predicted(widths))


def _total(subject: Subject, predictor: Predictor) -> Total:
    """Cost of all kernel calls of a model at any widths, by the predictions for its kernels."""

    def total(widths: Widths) -> float:
        kernels = subject.kernels_at(widths)
        calls = np.array([kernel.calls for kernel in kernels])
        return float(predictor(kernels) @ calls)

    return total


def _known_share(subject: Subject, widths: Widths) -> float:
    """Share of the kernel calls that were measured already, which ours looks up."""
    known = {(sample.family, sample.widths) for sample in subject.samples}
    kernels = subject.kernels_at(widths)
    calls = [(kernel.calls, (kernel.family, kernel.widths) in known) for kernel in kernels]
    return sum(count for count, looked_up in calls if looked_up) / sum(count for count, _ in calls)


def _measured_again(subject: Subject, widths: Widths) -> float:
    """Cost of a variant now, the drift since the dense model was first measured taken out."""
    models = subject.search.models
    dense, variant = models.measure([models.build(subject.dense), models.build(widths)])
    return variant.median * models.dense_cost().median / dense.median


def _line(row: Mapping[str, Any]) -> str:
    if "failure" in row:
        return str(row["failure"])
    return f"measured {row['measured']:.4g} {row['unit']}, predicted {row['ours']:.4g}"
