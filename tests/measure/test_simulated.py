from tvm_prune.measure import MEASURERS
from tvm_prune.measure.simulated import SimulatedMeasurer, simulated_cost


def test_the_simulated_cost_grows_with_the_work_and_repeats_exactly(kernel) -> None:
    measurer = SimulatedMeasurer()
    small, again, large = measurer.run(measurer.build([kernel(16), kernel(16), kernel(32)]))
    measurer.close()
    assert small == again
    assert large.median == 8 * small.median
    assert small.unit == "simulated"


def test_vectors_that_are_not_filled_cost_more_per_operation(kernel) -> None:
    def per_operation(size: int) -> float:
        return simulated_cost(kernel(size)) / size**3

    assert per_operation(13) > per_operation(16)


def test_users_cannot_choose_the_simulated_board() -> None:
    assert set(MEASURERS) == {"local", "rpc", "qemu-user", "qemu", "serial"}
