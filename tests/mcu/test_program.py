from __future__ import annotations

import numpy as np
import pytest
import tvm
from support.onnx_models import onnx_model, weight
from tvm.script import ir as I  # noqa: N812
from tvm.script import relax as R  # noqa: N812

from tvm_prune.errors import ExportError
from tvm_prune.frontend import load
from tvm_prune.mcu.layout import buffer_spans
from tvm_prune.mcu.program import Buffer, Constant, Program, read_program
from tvm_prune.transform import inference_form
from tvm_prune.tuning import lower

TARGET = tvm.target.Target({"kind": "llvm", "mtriple": "thumbv7em-none-eabihf", "num-cores": 1})


def program_of(body: str, **weights: np.ndarray) -> Program:
    named = {name.replace("__", "."): value for name, value in weights.items()}
    model = load(onnx_model(body, named))
    return read_program(lower(inference_form(model), TARGET))


CONV = "c = Conv <pads=[1,1,1,1]> (x, w) "


def test_calls_come_in_order_and_pass_buffers_on() -> None:
    program = program_of(
        CONV + "r = Relu(c) y = Conv(r, v)", w=weight(4, 3, 3, 3), v=weight(5, 4, 1, 1)
    )
    first, second = program.calls
    assert first.inputs[0] is program.inputs[0]
    assert second.inputs[0] is first.outputs[0]
    assert program.outputs == second.outputs
    assert [call.outputs[0].bytes for call in program.calls] == [4 * 64 * 4, 5 * 64 * 4]


def test_weights_are_constants_with_their_values() -> None:
    w = weight(4, 3, 3, 3)
    [call] = program_of("y = Conv <pads=[1,1,1,1]> (x, w)", w=w).calls
    constant = call.inputs[1]
    assert isinstance(constant, Constant)
    np.testing.assert_array_equal(constant.value, w)


def test_a_reshape_is_the_same_buffer() -> None:
    program = program_of(
        CONV + "f = Flatten(c) y = Gemm(f, d)", w=weight(4, 3, 3, 3), d=weight(256, 5)
    )
    assert len(program.calls) == 2
    assert program.calls[1].inputs[0] is program.calls[0].outputs[0]


def test_equal_constants_are_stored_once() -> None:
    w = weight(3, 3, 3, 3)
    program = program_of(CONV + "y = Conv <pads=[1,1,1,1]> (c, v)", w=w, v=w)
    first, second = program.calls
    assert first.inputs[1] is second.inputs[1]


def test_an_output_may_be_an_input() -> None:
    program = program_of("y = Identity(x)")
    assert program.calls == ()
    assert program.outputs == program.inputs


def test_buffers_live_from_writer_to_last_reader() -> None:
    program = program_of(
        CONV + "r = Relu(c) s = Conv <pads=[1,1,1,1]> (r, v) t = Softmax <axis=1> (s) "
        "y = Add(t, r)",
        w=weight(4, 3, 3, 3),
        v=weight(4, 4, 3, 3),
    )
    spans = buffer_spans(program)
    skipped = program.calls[0].outputs[0]
    assert (spans[skipped].first, spans[skipped].last) == (0, 2)
    output = program.outputs[0]
    assert isinstance(output, Buffer)
    assert spans[output].last == len(program.calls)


def test_what_is_no_kernel_is_named() -> None:
    @I.ir_module
    class Unsupported:
        @R.function
        def main(x: R.Tensor((4,), "float32")) -> R.Tensor(dtype="float32", ndim=2):  # noqa: N805
            with R.dataflow():
                y = R.nonzero(x)
                R.output(y)
            return y

    with pytest.raises(ExportError, match=r"'relax\.nonzero'.*--shape"):
        read_program(Unsupported)
