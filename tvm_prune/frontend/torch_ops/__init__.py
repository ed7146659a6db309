"""How ATen ops become Relax where TVM's own translation is missing, wrong, or hides channels."""

from __future__ import annotations

from collections.abc import Mapping

from tvm import relax

from tvm_prune.frontend.torch_ops.arguments import Converter
from tvm_prune.frontend.torch_ops.attention import attention
from tvm_prune.frontend.torch_ops.layers import (
    conv_transpose3d,
    prelu,
    select,
    upsample_nearest,
)
from tvm_prune.frontend.torch_ops.normalization import (
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from tvm_prune.frontend.torch_ops.reduction import (
    adaptive_max_pool2d,
    deviation,
    extremum,
    extremum_and_index,
    variance,
    variance_and_mean,
)

CONVERTERS: Mapping[str, Converter] = {
    "scaled_dot_product_attention.default": attention,
    "select.int": select,
    "upsample_nearest2d.vec": upsample_nearest,
    "prelu.default": prelu,
    "conv_transpose3d.input": conv_transpose3d,
    "layer_norm.default": layer_norm,
    "rms_norm.default": rms_norm,
    "group_norm.default": group_norm,
    "instance_norm.default": instance_norm,
    "amax.default": extremum(relax.op.max),
    "amin.default": extremum(relax.op.min),
    "max.dim": extremum_and_index(relax.op.max, relax.op.argmax),
    "min.dim": extremum_and_index(relax.op.min, relax.op.argmin),
    "var.correction": variance,
    "std.correction": deviation,
    "var_mean.correction": variance_and_mean,
    "adaptive_max_pool2d.default": adaptive_max_pool2d,
}
"""One row an op that TVM's importer does not translate as the op table needs it."""

DECOMPOSED = frozenset(
    {
        "pixel_shuffle.default",
        "pixel_unshuffle.default",
        "channel_shuffle.default",
        "native_channel_shuffle.default",
        "einsum.default",
    }
)
"""Ops that TVM translates, but whose parts (reshapes, products) tell more about channels."""

RECURRENT = frozenset({"lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input"})
"""Recurrent layers: TVM unrolls them over time, which ties nothing together that belongs."""
