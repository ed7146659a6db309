"""Networks whose kernels the tests look at: a residual one, a concatenating one, a trained one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.onnx_models import onnx_model, weight

from tvm_prune.compilation import Compilation
from tvm_prune.frontend import load, load_onnx
from tvm_prune.latency import Family, LatencyFitter, LatencyModel, Sample
from tvm_prune.model import Model

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_resnet8.onnx"
PAD = "<pads=[1,1,1,1]>"

RESIDUAL = f"""
    a = Conv {PAD} (x, stem, stem_bias)  r = Relu(a)
    b = Conv {PAD} (r, first, first_bias)  s = Relu(b)
    c = Conv {PAD} (s, second)
    d = Add(c, r)  t = Relu(d)
    p = GlobalAveragePool(t)  f = Flatten(p)
    y = Gemm <transB=1> (f, dense)
"""
CONCATENATION = f"""
    a = Conv {PAD} (x, left, left_bias)  r = Relu(a)
    b = Conv(x, right, right_bias)  s = Relu(b)
    j = Concat <axis=1> (r, s)
    m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (j)
    c = Conv {PAD} (m, joined, joined_bias)  t = Relu(c)
    f = Flatten(t)
    y = Gemm <transB=1> (f, dense)
"""


def bias(width: int) -> Any:
    return np.linspace(-0.1, 0.1, width, dtype="float32")


def residual() -> Model:
    weights = {
        "stem": weight(16, 3, 3, 3), "stem_bias": bias(16),
        "first": weight(24, 16, 3, 3), "first_bias": bias(24),
        "second": weight(16, 24, 3, 3),
        "dense": weight(5, 16),
    }  # fmt: skip
    return load_onnx(onnx_model(RESIDUAL, weights))


def concatenation() -> Model:
    weights = {
        "left": weight(12, 3, 3, 3), "left_bias": bias(12),
        "right": weight(20, 3, 1, 1), "right_bias": bias(20),
        "joined": weight(16, 32, 3, 3), "joined_bias": bias(16),
        "dense": weight(5, 16 * 16),
    }  # fmt: skip
    return load_onnx(onnx_model(CONCATENATION, weights))


def example() -> Model:
    return load(EXAMPLE)


MODELS: dict[str, Callable[[], Model]] = {
    "residual": residual,
    "concatenation": concatenation,
    "example": example,
}


@dataclass(frozen=True)
class Kernels:
    """A model, its kernels at any widths, and their families."""

    compilation: Compilation
    families: tuple[Family, ...]


def fit(
    families: Sequence[Family], samples: Sequence[Sample], unit: str = "seconds", seed: int = 0
) -> LatencyModel:
    """A latency model of these samples and no others."""
    fitter = LatencyFitter(families, unit, seed)
    fitter.add(samples)
    return fitter.fit()
