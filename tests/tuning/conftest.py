from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.tuning import Workload, kernel_calls, lower

ConvModule = Callable[..., tvm.IRModule]
ConvWorkload = Callable[..., Workload]


@pytest.fixture(scope="session")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="session")
def conv_module() -> ConvModule:
    def build(
        inputs: int, outputs: int, *, layers: int = 1, size: int = 8, pooled: bool = False
    ) -> tvm.IRModule:
        """Convolution, bias and ReLU, `layers` times, then perhaps a pooling; seeded weights."""
        random = np.random.default_rng(0)

        def constant(*shape: int) -> relax.Expr:
            return relax.const(random.standard_normal(shape).astype("float32"))

        builder = relax.BlockBuilder()
        data = relax.Var("data", relax.TensorType((1, inputs, size, size), "float32"))
        with builder.function("main", [data]):
            with builder.dataflow():
                value, channels = data, inputs
                for _ in range(layers):
                    weight = constant(outputs, channels, 3, 3)
                    value = builder.emit(relax.op.nn.conv2d(value, weight, padding=1))
                    value = builder.emit(relax.op.add(value, constant(1, outputs, 1, 1)))
                    value = builder.emit(relax.op.nn.relu(value))
                    channels = outputs
                if pooled:
                    value = builder.emit(relax.op.nn.max_pool2d(value, (2, 2), (2, 2)))
                value = builder.emit_output(value)
            builder.emit_func_output(value)
        return builder.get()

    return build


@pytest.fixture(scope="session")
def conv(target: Target, conv_module: ConvModule) -> ConvWorkload:
    def build(inputs: int, outputs: int, **options: int) -> Workload:
        [call] = kernel_calls(lower(conv_module(inputs, outputs, **options), target))
        return call.workload

    return build
