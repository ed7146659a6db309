"""Kernels and models on an emulated microcontroller."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import small_kernels
import tvm
from tvm.target import Target

from tvm_prune.board import Board, load_board
from tvm_prune.board_choice import chosen_board
from tvm_prune.errors import BoardError
from tvm_prune.measure import FirmwareMeasurer
from tvm_prune.measure.qemu import open_qemu_board, qemu_link
from tvm_prune.measurement import Artifact, Failure, Measurement

MatmulModule = Callable[[int], tvm.IRModule]


@pytest.fixture(scope="module")
def board() -> Board:
    return load_board("mps2-an500")


@pytest.fixture(scope="module")
def target(board: Board) -> Target:
    return board.tvm_target()


@pytest.fixture(scope="module")
def measurer(board: Board) -> Iterator[FirmwareMeasurer]:
    measurer = FirmwareMeasurer(board, qemu_link(board, timeout=3.0), builders=1, at_once=2)
    yield measurer
    measurer.close()


def matmul(size: int) -> tvm.IRModule:
    return tvm.script.from_source(
        f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(
        a: T.Buffer(({size}, {size}), "float32"),
        b: T.Buffer(({size}, {size}), "float32"),
        c: T.Buffer(({size}, {size}), "float32"),
    ):
        for i, j, k in T.grid({size}, {size}, {size}):
            with T.sblock("c"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    c[vi, vj] = T.float32(0)
                c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
"""
    )


def test_counts_are_the_same_at_every_run_and_build(
    board: Board, measurer: FirmwareMeasurer
) -> None:
    modules = [matmul(size) for size in (4, 8, 16)]
    built = measurer.build(modules)
    first = measurer.run([artifact for artifact in built if isinstance(artifact, Artifact)])
    assert len(first) == 3
    again = measurer.run(built)  # type: ignore[arg-type]
    other = open_qemu_board(board, None, None)
    try:
        elsewhere = other.run(other.build(modules))  # type: ignore[arg-type]
    finally:
        other.close()
    for outcomes in zip(first, again, elsewhere, strict=True):
        assert all(isinstance(outcome, Measurement) for outcome in outcomes)
        assert len({outcome.samples for outcome in outcomes}) == 1  # type: ignore[union-attr]
        assert {outcome.unit for outcome in outcomes} == {"instructions"}  # type: ignore[union-attr]
    costs = [outcome.median for outcome in first if isinstance(outcome, Measurement)]
    assert 6 < costs[1] / costs[0] < 9
    assert 7 < costs[2] / costs[1] < 9


def test_estimated_cycles_are_a_unit_of_their_own(board: Board) -> None:
    estimated = chosen_board(board, "estimated-cycles")
    assert estimated.fingerprint != board.fingerprint
    measurer = open_qemu_board(estimated, None, None)
    try:
        outcomes = measurer.run(measurer.build([matmul(8)] * 2))  # type: ignore[arg-type]
    finally:
        measurer.close()
    assert measurer.unit == "estimated cycles"
    for outcome in outcomes:
        assert isinstance(outcome, Measurement)
        assert outcome.unit == "estimated cycles"
        assert outcome.samples == outcomes[0].samples  # type: ignore[union-attr]


def test_a_board_with_a_counter_of_its_own_estimates_nothing() -> None:
    with pytest.raises(BoardError, match="'nucleo-l4r5zi' has no clock 'estimated-cycles'"):
        chosen_board("nucleo-l4r5zi", "estimated-cycles")


@pytest.mark.parametrize(
    ("statement", "stage", "said"),
    [
        (small_kernels.DOES_NOT_COMPILE, "build", ""),
        (small_kernels.UNDEFINED, "build", "nobody_defines_this"),
        (small_kernels.ENDLESS, "run", "did not finish within 3 s and was killed"),
    ],
)
def test_a_kernel_that_goes_wrong_fails_alone(
    statement: str, stage: str, said: str, measurer: FirmwareMeasurer
) -> None:
    modules = [small_kernels.module(statement), small_kernels.module(small_kernels.FINE)]
    wrong, fine = measurer.build(modules)
    assert isinstance(fine, Artifact)
    if isinstance(wrong, Artifact):
        [wrong] = measurer.run([wrong])  # type: ignore[assignment]
    assert isinstance(wrong, Failure)
    assert wrong.stage == stage
    assert said in wrong.cause
    [outcome] = measurer.run([fine])
    assert isinstance(outcome, Measurement)


def test_a_kernel_that_does_not_fit_fails_to_build(measurer: FirmwareMeasurer) -> None:
    [outcome] = measurer.build([matmul(700)])
    assert isinstance(outcome, Failure)
    assert outcome.stage == "build"
    assert "RAM" in outcome.cause
    assert "overflowed" in outcome.cause


def test_only_emulated_boards_have_an_emulator() -> None:
    with pytest.raises(BoardError, match="'nucleo-l4r5zi' is not emulated"):
        qemu_link(load_board("nucleo-l4r5zi"))
