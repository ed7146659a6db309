"""Relax modules, however TVM's tutorials make them, arrive with named weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import tvm
from support.evaluate import evaluate
from support.onnx_models import onnx_model, weight
from tvm import IRModule, relax
from tvm.relax.frontend import detach_params, nn
from tvm.relax.frontend.onnx import from_onnx
from tvm.relax.frontend.torch import from_exported_program, from_fx

import tvm_prune
from tvm_prune.channels import find_channels
from tvm_prune.errors import ModelError
from tvm_prune.model import Model


class Perceptron(nn.Module):
    """Two layers, as TVM's own front end has them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(32, 10, bias=False)

    def forward(self, x: Any) -> Any:
        return self.fc2(nn.op.relu(self.fc1(x)))


VALUES = {"fc1.weight": weight(32, 16), "fc1.bias": weight(32), "fc2.weight": weight(10, 32)}


def exported(batch: int | str = 1) -> tuple[IRModule, list[tuple[str, Any]]]:
    spec = {"forward": {"x": nn.spec.Tensor((batch, 16), "float32")}}
    module, parameters = Perceptron().export_tvm(spec=spec)
    return module, parameters


def widths(model: Model) -> list[int]:
    return [group.width for group in find_channels(model.module).groups]


def assert_is_perceptron(model: Model) -> None:
    assert list(model.parameters) == list(VALUES)
    assert [spec.name for spec in model.inputs] == ["x"]
    assert [spec.name for spec in model.outputs] == ["output"]
    assert widths(model) == [32]
    x = np.random.default_rng(0).standard_normal((1, 16)).astype("float32")
    (actual,) = evaluate(model.module, x, model.parameters)
    hidden = np.maximum(x @ VALUES["fc1.weight"].T + VALUES["fc1.bias"], 0)
    np.testing.assert_allclose(actual, hidden @ VALUES["fc2.weight"].T, rtol=1e-4, atol=1e-5)


FORMS = {
    "mapping": lambda: VALUES,
    "pairs": lambda: list(VALUES.items()),
    "in order": lambda: list(VALUES.values()),
    "as detach_params": lambda: {"forward": list(VALUES.values())},
    "torch tensors": lambda: {name: torch.from_numpy(value) for name, value in VALUES.items()},
    "tvm tensors": lambda: {name: tvm.runtime.tensor(value) for name, value in VALUES.items()},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_are_given_in_every_form_that_tvm_uses(form: Any) -> None:
    assert_is_perceptron(tvm_prune.load(exported()[0], parameters=form()))


def test_the_parameters_of_export_tvm_are_taken_with_their_data() -> None:
    module, parameters = exported()
    for name, parameter in parameters:
        parameter.data = VALUES[name]
    assert_is_perceptron(tvm_prune.load(module, parameters=parameters))


def test_the_users_module_is_left_alone() -> None:
    module, _ = exported()
    before = module.clone()
    tvm_prune.load(module, parameters=VALUES)
    tvm.ir.assert_structural_equal(module, before)


def cnn() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 5),
    ).eval()


IMAGE = (1, 3, 8, 8)


def traced(**options: Any) -> IRModule:
    return from_fx(torch.fx.symbolic_trace(cnn()), [(IMAGE, "float32")], **options)


def program(**options: Any) -> IRModule:
    return from_exported_program(torch.export.export(cnn(), (torch.randn(IMAGE),)), **options)


IMPORTED = {
    "from_fx": lambda: (traced(), None),
    "from_fx with weights": lambda: (traced(keep_params_as_input=True), None),
    "from_fx detached": lambda: detach_params(traced(keep_params_as_input=True)),
    "from_exported_program": lambda: (program(), None),
    "from_exported_program with weights": lambda: (program(keep_params_as_input=True), None),
    "from_exported_program detached": lambda: detach_params(program(keep_params_as_input=True)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", IMPORTED.values(), ids=IMPORTED)
def test_what_tvms_importers_return_is_a_model(make: Any) -> None:
    module, parameters = make()
    model = tvm_prune.load(module, parameters=parameters)
    assert widths(model) == [8]
    x = torch.randn(IMAGE)
    (actual,) = evaluate(model.module, x.numpy(), model.parameters)
    np.testing.assert_allclose(actual, cnn()(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_an_onnx_import_with_detached_weights_is_a_model() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) y = Conv(a, w2)", {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)}
    )
    module, parameters = detach_params(from_onnx(proto, keep_params_in_input=True))
    model = tvm_prune.load(module, parameters=parameters)
    assert list(model.parameters) == ["w1", "w2"]
    assert widths(model) == [8]


def shared_constant(value: Any) -> IRModule:
    x = relax.Var("x", relax.TensorType((2, 16), "float32"))
    builder = relax.BlockBuilder()
    shared, last = relax.const(value), relax.const(weight(16, 4))
    with builder.function("main", [x]):
        with builder.dataflow():
            hidden = builder.emit(relax.op.tanh(relax.op.matmul(x, shared)))
            hidden = builder.emit(relax.op.tanh(relax.op.matmul(hidden, shared)))
            result = builder.emit_output(
                relax.op.multiply(relax.op.matmul(hidden, last), relax.const(2.0))
            )
        builder.emit_func_output(result)
    return builder.get()


def test_constants_become_parameters_one_a_use() -> None:
    model = tvm_prune.load(shared_constant(weight(16, 16)))
    assert list(model.parameters) == ["constant_0", "constant_0#2", "constant_1"]
    assert widths(model) == [16, 16]


def test_a_tied_constant_is_one_parameter() -> None:
    model = tvm_prune.load(shared_constant(weight(16, 16)), keep_tied=True)
    assert list(model.parameters) == ["constant_0", "constant_1"]


def test_integer_constants_stay_in_the_program() -> None:
    x = relax.Var("x", relax.TensorType((2, 16), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        rows = builder.emit(relax.op.take(x, relax.const(np.array([1, 0])), 0))
        builder.emit_func_output(rows)
    assert tvm_prune.load(builder.get()).parameters == {}


def test_shape_variables_are_fixed_by_shapes() -> None:
    module, _ = exported("n")
    model = tvm_prune.load(module, {"x": (4, 16)}, parameters=VALUES)
    assert model.inputs[0].shape == (4, 16)
    assert model.outputs[0].shape == (4, 10)


def message(module: IRModule, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        tvm_prune.load(module, *arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_dynamic_shape_is_refused() -> None:
    assert "'x' is R.Tensor((n, 16)" in message(exported("n")[0], parameters=VALUES)


WRONG: dict[str, tuple[Any, str]] = {
    "missing": (None, "'fc1.weight' has no value (3 of 3 have none)"),
    "one missing": (
        {k: v for k, v in VALUES.items() if k != "fc1.bias"},
        "'fc1.bias' has no value",
    ),
    "unknown": ({**VALUES, "fc3.weight": weight(1)}, "no parameter 'fc3.weight'"),
    "shape": ({**VALUES, "fc1.bias": weight(31)}, "'fc1.bias' is float32[31]"),
    "dtype": ({**VALUES, "fc1.bias": np.zeros(32)}, "'fc1.bias' is float64[32]"),
    "too many": ([weight(1)] * 9, "9 weights, but the function has 4 parameters"),
    "no data": (exported()[1], "'fc1.weight' has no data"),
}


@pytest.mark.parametrize(("parameters", "expected"), WRONG.values(), ids=WRONG)
def test_weights_that_do_not_fit(parameters: Any, expected: str) -> None:
    assert expected in message(exported()[0], parameters=parameters)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"y": (1, 16)}, "no input 'y'"),
        ({"x": (1, 17)}, "the shape [1, 17] does not fit"),
        ({"x": (16,)}, "the shape [16] does not fit"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, Any], expected: str) -> None:
    assert expected in message(exported()[0], shapes, parameters=VALUES)


def test_a_module_of_several_functions_needs_a_main() -> None:
    module, _ = exported()
    module["other"] = module["forward"].with_attr("global_symbol", "other")
    assert "the Relax functions forward, other" in message(module, parameters=VALUES)


def test_a_module_without_functions() -> None:
    assert "holds no Relax function" in message(IRModule())


def test_functions_that_are_called_are_put_in_place() -> None:
    x = relax.Var("x", relax.TensorType((2, 16), "float32"))
    w = relax.Var("w", relax.TensorType((16, 8), "float32"))
    v = relax.Var("v", relax.TensorType((8, 4), "float32"))
    builder = relax.BlockBuilder()
    a = relax.Var("a", relax.TensorType((2, 16), "float32"))
    b = relax.Var("b", relax.TensorType((16, 8), "float32"))
    with builder.function("layer", [a, b], private=True):
        builder.emit_func_output(builder.emit(relax.op.nn.relu(relax.op.matmul(a, b))))
    with builder.function("main", [x, w, v]):
        hidden = builder.emit(relax.Call(builder.get().get_global_var("layer"), [x, w]))
        builder.emit_func_output(builder.emit(relax.op.matmul(hidden, v)))
    model = tvm_prune.load(builder.get(), parameters={"w": weight(16, 8), "v": weight(8, 4)})
    assert widths(model) == [8]
