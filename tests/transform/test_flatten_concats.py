from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from support.agreement import assert_inference_form_computes_the_same
from support.onnx_models import onnx_model, weight
from tvm import IRModule, relax

from tvm_prune.frontend import load
from tvm_prune.transform import inference_form
from tvm_prune.tuning import lower

SCALES = {"s": weight(6, 1, 1) + 2, "t": weight(9, 1, 1) + 2}
WEIGHT = {"w": weight(4, 6, 1, 1)}
BODIES: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "one reader that is fused": (
        "r = Relu(x) a = Concat <axis=1> (x, r) m = Mul(a, s) b = Concat <axis=1> (a, x) "
        "n = Mul(b, t) y = Concat <axis=1> (m, n)",
        SCALES,
        [2, 3, 2],
    ),
    "an axis from the end": (
        "r = Relu(x) a = Concat <axis=-3> (x, r) m = Mul(a, s) b = Concat <axis=1> (a, x) "
        "n = Mul(b, t) y = Concat <axis=1> (m, n)",
        SCALES,
        [2, 3, 2],
    ),
    "no other reader": (
        "r = Relu(x) a = Concat <axis=1> (x, r) y = Concat <axis=1> (r, a, x)",
        {},
        [4],
    ),
    "three deep": (
        "r = Relu(x) a = Concat <axis=1> (x, r) b = Concat <axis=1> (a, r) "
        "y = Concat <axis=1> (b, a)",
        {},
        [5],
    ),
    "a reader that needs it whole": (
        "r = Relu(x) a = Concat <axis=1> (x, r) c = Conv(a, w) y = Concat <axis=1> (a, c)",
        WEIGHT,
        [2, 2],
    ),
    "two readers that might be fused": (
        "r = Relu(x) a = Concat <axis=1> (x, r) m = Mul(a, s) n = Relu(a) "
        "y = Concat <axis=1> (a, m, n)",
        SCALES,
        [2, 3],
    ),
    "another axis": (
        "r = Relu(x) a = Concat <axis=2> (x, r) y = Concat <axis=1> (a, a)",
        {},
        [2, 2],
    ),
}


def concats(module: IRModule) -> list[int]:
    """Numbers of parts."""
    return [
        len(binding.value.args[0].fields)
        for block in module["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call) and binding.value.op.name == "relax.concat"
    ]


@pytest.mark.parametrize(("body", "weights", "expected"), BODIES.values(), ids=BODIES)
def test_concatenations_that_nothing_needs_whole_are_read_in_parts(
    body: str, weights: dict[str, Any], expected: list[int]
) -> None:
    assert concats(inference_form(load(onnx_model(body, weights)))) == expected


@pytest.mark.parametrize(("body", "weights", "expected"), BODIES.values(), ids=BODIES)
def test_flattening_changes_nothing_that_is_computed(
    body: str, weights: dict[str, Any], expected: list[int]
) -> None:
    assert_inference_form_computes_the_same(onnx_model(body, weights))


def test_a_result_that_is_extended_stays_whole() -> None:
    body = "r = Relu(x) a = Concat <axis=1> (x, r) y = Concat <axis=1> (a, r)"
    module = inference_form(load(onnx_model(body, outputs="a,y")))
    assert concats(module) == [2, 2]


def test_a_dense_block_has_no_kernel_that_only_copies() -> None:
    body = """
        n = BatchNormalization(x, g, h, h, g) p = Relu(n) c = Conv(p, w)
        a = Concat <axis=1> (x, c)
        o = BatchNormalization(a, i, j, j, i) q = Relu(o) d = Conv(q, v)
        b = Concat <axis=1> (a, d)
        s = BatchNormalization(b, k, l, l, k) y = Relu(s)
    """
    weights = {
        "g": np.full(3, 2, "float32"), "h": weight(3), "i": np.full(7, 2, "float32"),
        "j": weight(7), "k": np.full(11, 2, "float32"), "l": weight(11),
        "w": weight(4, 3, 1, 1), "v": weight(4, 7, 1, 1),
    }  # fmt: skip
    lowered = lower(inference_form(load(onnx_model(body, weights))), tvm.target.Target("llvm"))
    kernels = [name.name_hint for name in lowered.functions if name.name_hint != "main"]
    assert len(kernels) == 5
    assert sum("concat" in name for name in kernels) == 2
    assert "concatenate" not in kernels
