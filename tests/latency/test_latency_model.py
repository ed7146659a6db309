"""The latency model, learned from a cost that is a formula: truth is known at every width."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import pytest
from formula import true_cost
from numpy.typing import NDArray
from small_models import Kernels, fit

from tvm_prune.errors import MeasureError
from tvm_prune.latency import (
    LatencyFitter,
    LatencyModel,
    Sample,
    Surroundings,
    Widths,
    sample_widths,
)
from tvm_prune.latency.features import feature_names, features, work

Find = Callable[[str], Kernels]


def sampled(found: Kernels, count: int, seed: int) -> list[Sample]:
    """What measuring the kernels of some pruned models would give, each kernel once."""
    dense = found.compilation.dense
    samples: dict[tuple[int, Widths], Sample] = {}
    for widths in [dense, *islice(sample_widths(found.compilation.limits, seed), count)]:
        for index, family in enumerate(found.families):
            own = tuple(widths[group] for group in family.groups)
            cost = float(true_cost(family, np.array([own], dtype=float).reshape(1, -1))[0])
            samples[index, own] = Sample(index, own, cost, 0.01)
    return list(samples.values())


def unseen(found: Kernels, samples: list[Sample]) -> list[Sample]:
    seen = {(sample.family, sample.widths) for sample in samples}
    return [
        sample
        for sample in sampled(found, 60, seed=99)
        if (sample.family, sample.widths) not in seen
    ]


def predictions(model: LatencyModel, samples: list[Sample]) -> NDArray[np.float64]:
    return np.array(
        [model.predict(s.family, np.array([s.widths], dtype=np.int64))[0] for s in samples]
    )


def relative_error(predicted: NDArray[np.float64], samples: list[Sample]) -> float:
    costs = np.array([sample.cost for sample in samples])
    return float(np.abs(predicted / costs - 1).mean())


@pytest.fixture(scope="module")
def found(kernels: Find) -> Kernels:
    return kernels("example")


@pytest.fixture(scope="module")
def samples(found: Kernels) -> list[Sample]:
    return sampled(found, 40, seed=0)


@pytest.fixture(scope="module")
def model(found: Kernels, samples: list[Sample]) -> LatencyModel:
    return fit(found.families, samples)


def test_widths_that_were_not_measured_are_predicted_far_better_than_by_work_alone(
    found: Kernels, samples: list[Sample], model: LatencyModel
) -> None:
    others = unseen(found, samples)
    assert len(others) > 100
    dense = {s.family: s.cost for s in samples[: len(found.families)]}
    by_work = []
    for sample in others:
        family = found.families[sample.family]
        widths = np.array([sample.widths], dtype=float)
        share = work(family, widths) / work(family, family.arguments.dense[None, :])
        by_work.append(float(dense[sample.family] * share[0]))
    ours = relative_error(predictions(model, others), others)
    assert ours < 0.08
    assert ours < relative_error(np.array(by_work), others) / 3


def test_the_error_told_is_about_the_error_made(
    found: Kernels, samples: list[Sample], model: LatencyModel
) -> None:
    others = unseen(found, samples)
    made = relative_error(predictions(model, others), others) * 100
    error = model.error
    dense = {  # their cost is known, so they are never held out
        (index, tuple(family.arguments.dense.astype(int).tolist()))
        for index, family in enumerate(found.families)
    }
    pruned = [sample for sample in samples if (sample.family, sample.widths) not in dense]
    assert error.samples == len(pruned) // 5
    assert made / 5 < error.mape_percent < made * 5
    assert 0 <= error.within_5_percent <= error.within_10_percent <= 1
    assert error.within_10_percent > 0.5
    assert error.spearman > 0.95


def test_what_was_measured_is_told_exactly(samples: list[Sample], model: LatencyModel) -> None:
    costs = [sample.cost for sample in samples]
    np.testing.assert_array_equal(predictions(model, samples), costs)


def test_hope_makes_what_is_unknown_cheaper_and_leaves_what_was_measured(
    found: Kernels, samples: list[Sample], model: LatencyModel
) -> None:
    hopeful, others = model.hopeful(), unseen(found, samples)
    np.testing.assert_array_equal(predictions(hopeful, samples), predictions(model, samples))
    share = predictions(hopeful, others) / predictions(model, others)
    assert share.max() < 1
    lowest = [model.interval(s.family, np.array([s.widths], dtype=np.int64))[0, 0] for s in others]
    assert (predictions(hopeful, others) >= np.array(lowest)).all()
    assert hopeful.total(found.compilation.dense) == model.total(found.compilation.dense)


def test_the_total_is_the_sum_of_all_calls(found: Kernels, model: LatencyModel) -> None:
    for widths in [found.compilation.dense, *islice(sample_widths(found.compilation.limits, 5), 3)]:
        total = sum(
            float(model.predict(i, np.array([[widths[g] for g in family.groups]]))[0])
            for i, family in enumerate(found.families)
            for _ in family.calls
        )
        assert model.total(widths) == pytest.approx(total)
    assert any(len(family.calls) > 1 for family in found.families) or len(found.families) == len(
        found.compilation.kernel_calls(found.compilation.dense)
    )


def test_a_model_adds_to_its_kernels_by_the_byte_and_by_the_call(
    found: Kernels, model: LatencyModel
) -> None:
    dense = found.compilation.dense
    around = replace(model, surroundings=Surroundings(per_byte=1e-11, per_call=1e-6))
    assert around.total(dense) - model.total(dense) == pytest.approx(1e-11 * model.moved(dense))
    assert around.overhead == pytest.approx(1e-6 * model.calls)
    assert model.overhead == 0.0
    arguments = [call.workload.arguments for call in found.compilation.kernel_calls(dense)]
    elements = sum(math.prod(shape) for call in arguments for _, shape in call)
    assert model.moved(dense) == 4 * elements


def test_a_model_goes_by_what_whole_models_cost(found: Kernels, model: LatencyModel) -> None:
    """Where all cost a tenth more than predicted, so does one that was never measured whole."""
    around = replace(model, surroundings=Surroundings(per_byte=1e-11, per_call=1e-6))
    *whole, other = islice(sample_widths(found.compilation.limits, 5), 7)

    def cost(model: LatencyModel, widths: Widths) -> float:
        return model.total(widths) + model.overhead

    explained = around.explaining({widths: 1.1 * cost(around, widths) for widths in whole})
    assert cost(explained, whole[0]) == pytest.approx(1.1 * cost(around, whole[0]), rel=0.01)
    assert cost(explained, other) == pytest.approx(1.1 * cost(around, other), rel=0.02)
    again = explained.explaining({widths: cost(around, widths) for widths in whole})
    assert cost(again, other) == pytest.approx(cost(around, other))


def test_a_kernel_that_is_not_there_adds_nothing(found: Kernels, model: LatencyModel) -> None:
    around = replace(model, surroundings=Surroundings(per_byte=1e-11))
    around = around.explaining({found.compilation.dense: 2 * model.total(found.compilation.dense)})
    index = next(i for i, family in enumerate(model.families) if family.groups)
    gone = np.zeros((1, len(model.families[index].groups)), dtype=np.int64)
    assert around.in_model(index, gone).tolist() == [0.0]


def test_the_same_samples_and_seed_give_the_same_model(
    found: Kernels, samples: list[Sample], model: LatencyModel
) -> None:
    again = fit(found.families, samples)
    others = unseen(found, samples)
    np.testing.assert_array_equal(predictions(again, others), predictions(model, others))
    np.testing.assert_equal(asdict(again.error), asdict(model.error))
    other = fit(found.families, samples, seed=1)
    assert not np.array_equal(predictions(other, others), predictions(model, others))


def test_the_order_of_the_groups_of_a_prediction_is_that_of_the_family(
    found: Kernels, model: LatencyModel
) -> None:
    """Input and output widths are told apart: a kernel's cost is not symmetric in them."""
    index, family = next(
        (i, f) for i, f in enumerate(found.families) if f.arguments.dense.tolist() == [64, 96]
    )
    one, other = model.predict(index, np.array([[32, 90], [64, 45]]))
    truth = true_cost(family, np.array([[32.0, 90.0], [64.0, 45.0]]))
    assert abs(one / truth[0] - 1) < 0.3
    assert abs(other / truth[1] - 1) < 0.3


def test_too_few_samples_have_no_error_to_tell(found: Kernels) -> None:
    few = sampled(found, 0, seed=0)
    error = fit(found.families, few).error
    assert error.samples == 0
    assert np.isnan(error.mape_percent)


def test_later_samples_improve_the_model_but_not_the_error_it_tells(
    found: Kernels, samples: list[Sample]
) -> None:
    """They are chosen by the planner, so an error told on them would flatter the model."""
    fitter = LatencyFitter(found.families, "seconds")
    assert fitter.add(samples)
    first = fitter.fit()
    later = unseen(found, samples)
    assert fitter.add(later)
    second = fitter.fit()
    assert second.error == first.error
    np.testing.assert_array_equal(predictions(second, later), [s.cost for s in later])


def test_a_kernel_that_is_known_is_nothing_new(found: Kernels, samples: list[Sample]) -> None:
    fitter = LatencyFitter(found.families, "seconds")
    assert fitter.add(samples)
    assert not fitter.add(samples)
    assert not fitter.add([])
    assert len(fitter.samples) == len(samples)


def test_adding_samples_one_by_one_gives_the_same_model(
    found: Kernels, samples: list[Sample], model: LatencyModel
) -> None:
    fitter = LatencyFitter(found.families, "seconds")
    for sample in samples:
        fitter.add([sample])
    others = unseen(found, samples)
    np.testing.assert_array_equal(predictions(fitter.fit(), others), predictions(model, others))


@pytest.mark.parametrize("cost", [0.0, -1e-6, float("nan"), float("inf")])
def test_a_cost_that_nothing_can_have_is_refused(
    cost: float, found: Kernels, samples: list[Sample]
) -> None:
    wrong = [*samples, Sample(0, (1,) * len(samples[0].widths), cost, 0.0)]
    with pytest.raises(MeasureError, match=str(cost)):
        fit(found.families, wrong)


def test_a_missing_dense_kernel_is_told(found: Kernels, samples: list[Sample]) -> None:
    count = len(found.families)
    dense, others = samples[:count], samples[count:]
    without = [sample for sample in dense if sample.family not in (0, 2)]
    with pytest.raises(MeasureError, match=f"2 of {count} dense kernels could not be measured"):
        fit(found.families, [*without, *others])


def test_no_samples_at_all_are_told(found: Kernels) -> None:
    with pytest.raises(MeasureError, match="could not be measured"):
        fit(found.families, [])


def test_every_row_has_every_feature_and_no_infinity(found: Kernels) -> None:
    for family in found.families:
        widths = np.array([np.ones(len(family.groups)), family.arguments.dense])
        rows = features(family, widths, 1e-4)
        assert rows.shape == (2, len(feature_names()))
        assert not np.isinf(rows).any()
