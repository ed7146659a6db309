"""Boards under one tracker key: used at once, and free to crash, hang or vanish."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from small_kernels import ABORTS, DOES_NOT_COMPILE, ENDLESS, FINE, module
from support.rpc_servers import Boards, boards, free_port, server_that_hangs_up

from tvm_prune.errors import MeasureError
from tvm_prune.measure import Repeats, RpcMeasurer
from tvm_prune.measure.tracker import Tracker
from tvm_prune.measurement import Artifact, Failure, Measurement, raise_if_lost

REPEATS = Repeats(samples=3, seconds=0.001)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with boards(tmp_path_factory.mktemp("boards"), 2) as started:
        yield started


@pytest.fixture(scope="module")
def builder(target, two: Boards):
    """A measurer that builds for all tests; it has built and run nothing that fails."""
    measurer = RpcMeasurer(target, two.tracker, builders=1, repeats=REPEATS)
    yield measurer
    measurer.close()


@pytest.fixture
def measurer(target, two: Boards):
    measurer = RpcMeasurer(
        target, two.tracker, builders=1, run_timeout=4, server_timeout=60, repeats=REPEATS
    )
    yield measurer
    measurer.close()


def artifacts(measurer: RpcMeasurer, *statements: str) -> list[Artifact]:
    built = measurer.build([module(statement) for statement in statements])
    assert all(isinstance(artifact, Artifact) for artifact in built)
    return [artifact for artifact in built if isinstance(artifact, Artifact)]


def test_all_servers_of_the_key_measure_at_once_and_each_kernel_has_its_own_cost(
    builder, two: Boards, kernel
) -> None:
    before = [server.sessions for server in two.servers]
    built = builder.build([kernel(256 if number % 3 else 8) for number in range(6)])
    outcomes = builder.run([each for each in built if isinstance(each, Artifact)])
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    assert {outcome.unit for outcome in outcomes} == {"seconds"}
    assert {len(outcome.samples) for outcome in outcomes} == {3}
    small, large = outcomes[::3], [o for i, o in enumerate(outcomes) if i % 3]
    assert max(o.median for o in small) < min(o.median for o in large)
    assert [server.sessions for server in two.servers] == [count + 1 for count in before]


def test_what_does_not_compile_or_load_fails_alone(builder) -> None:
    fine, failed, damaged = builder.build([module(s) for s in (FINE, DOES_NOT_COMPILE, FINE)])
    assert isinstance(failed, Failure)
    assert failed.stage == "build"
    damaged.path.write_bytes(b"not a library")
    ran, refused = builder.run([fine, damaged])
    assert isinstance(ran, Measurement)
    assert isinstance(refused, Failure)
    assert refused.stage == "run"
    assert "Failed to load" in refused.cause


@pytest.mark.parametrize(("statement", "cause"), [(ENDLESS, "timed out after 4 s"), (ABORTS, "")])
def test_a_kernel_that_takes_its_session_along_fails_alone_and_after_a_second_try(
    statement, cause, builder, measurer, two: Boards
) -> None:
    outcomes = measurer.run(artifacts(builder, FINE, statement, FINE, FINE))
    failed = outcomes.pop(1)
    assert isinstance(failed, Failure)
    assert failed.stage == "run"
    assert cause in failed.cause
    assert failed.cause.count("127.0.0.1:") == 2
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    two.wait_for(2)


def test_a_server_that_keeps_failing_is_set_aside_and_named(
    builder, measurer, two: Boards, caplog: pytest.LogCaptureFixture
) -> None:
    fine = artifacts(builder, *[FINE] * 6)
    with server_that_hangs_up(two.tracker) as name:
        for _ in range(4):
            outcomes = measurer.run(fine)
            assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    [told] = [record.message for record in caplog.records if "set aside" in record.message]
    assert name in told


def test_models_run_and_are_timed_in_turns(builder, library, squares) -> None:
    inputs = squares(16)
    flipped = {"left": inputs["right"], "right": inputs["left"]}
    outputs = builder.run_model(library(16), [inputs, flipped])
    for arrays, [product] in zip([inputs, flipped], outputs, strict=True):
        expected = arrays["left"] @ arrays["right"]
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-4)
    one, other = builder.time_models([library(16), library(16)], inputs, rounds=4)
    assert len(one.samples) == len(other.samples) == 4
    assert one.unit == "seconds"
    assert all(0 < sample < 1 for sample in one.samples + other.samples)


def test_a_model_that_refuses_its_inputs_is_told_at_once(builder, library, squares) -> None:
    wrong = {"left": squares(16)["left"], "wrong": squares(16)["right"]}
    with pytest.raises(MeasureError, match=r"takes \['left', 'right'\], not \['left', 'wrong'\]"):
        builder.run_model(library(16), [wrong])


def test_where_no_server_is_left_the_rest_is_lost_and_the_words_tell_how_to_go_on(
    builder, target, tmp_path: Path
) -> None:
    fine = artifacts(builder, FINE, FINE)
    with boards(tmp_path, 1) as one:
        impatient = RpcMeasurer(target, one.tracker, server_timeout=2, repeats=REPEATS)
        [measured] = impatient.run(fine[:1])
        one.servers[0].kill()
        lost = impatient.run(fine)
        with pytest.raises(MeasureError, match=r"tvm\.exec\.rpc_server"):
            impatient.run_model(tmp_path / "model.so", [{}])
        impatient.close()
    assert isinstance(measured, Measurement)
    assert [outcome.stage for outcome in lost] == ["lost", "lost"]
    with pytest.raises(MeasureError, match="run the same command to go on"):
        raise_if_lost([measured, *lost])


def test_a_server_that_stops_answering_costs_its_time_out_and_no_kernel(
    builder, measurer, two: Boards, tmp_path: Path
) -> None:
    fine = artifacts(builder, *[FINE] * 4)
    two.servers[0].signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        outcomes = measurer.run(fine)
        assert time.monotonic() - started < 60
    finally:
        two.servers[0].signal(signal.SIGCONT)
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)


def test_a_tracker_that_is_not_there_loses_everything_and_is_named(target, builder) -> None:
    tracker = Tracker("127.0.0.1", free_port(), "board")
    absent = RpcMeasurer(target, tracker, server_timeout=1)
    [outcome] = absent.run(artifacts(builder, FINE))
    absent.close()
    assert isinstance(outcome, Failure)
    assert outcome.is_lost
    assert tracker.name in outcome.cause
    assert "tvm.exec.rpc_tracker" in outcome.cause
