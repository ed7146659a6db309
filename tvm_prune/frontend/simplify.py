"""Simplified forms of an ONNX model: newer operators, shape arithmetic folded by kept libraries.

No simplifier is right about every model. Each form is therefore a candidate: the caller checks it,
and takes the next one where it fails.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx.version_converter
import onnxsim
import onnxslim

from tvm_prune.frontend.agreement import Rounding, first_line
from tvm_prune.frontend.onnx_folding import fold_weights
from tvm_prune.frontend.onnx_graph import (
    copy_of,
    remove_nodes,
    replace_nodes,
    standardise,
    take_decided_branches,
    without_dead_nodes,
)
from tvm_prune.frontend.onnx_patterns import (
    LAYER_NORM_OPSET,
    View,
    explicit_padding,
    transposed_weights_as_flags,
    whole_layer_norms,
)
from tvm_prune.frontend.onnx_resize import lines_as_images
from tvm_prune.frontend.onnx_weights import (
    Weights,
    constants_as_nodes,
    set_inputs,
    take_weights,
)

logger = logging.getLogger(__name__)

OPSET = LAYER_NORM_OPSET
"""Older models can be brought to this opset, the first one that has layer norms."""
LAYER_NORM_OPS = frozenset({"ReduceMean", "Sub", "Sqrt", "Div"})
"""What a layer norm of an older model is made of."""
IR_VERSION = 8
"""The file format version that belongs to it."""
STDERR = 2
HIDDEN = "tvm_prune"
"""Domain of the node that stands for the weights."""
KEEP_NODES = ("FusionConvBN", "FusionConvMul", "FusionConvAdd", "FusionGemm")
"""Fusions of onnxslim that would change weights."""
KEEP_ADDITIONS = ("fuse_add_bias_into_conv", "fuse_matmul_add_bias_into_gemm")
"""Fusions of onnxsim that would put a squeezed weight in the place of a weight."""


Simplify = Callable[[onnx.ModelProto, frozenset[str]], onnx.ModelProto]
"""Takes a model whose weights are inputs, and the names of the user's inputs."""


def _by_onnxslim(proto: onnx.ModelProto, given: frozenset[str]) -> onnx.ModelProto:
    weights = _hide_weights(proto, given)
    result: onnx.ModelProto = onnxslim.slim(
        proto,
        skip_fusion_patterns=list(KEEP_NODES),
        skip_optimizations=["weight_tying"],
        verbose=False,
    )
    remove_nodes(result.graph, [node for node in result.graph.node if node.domain == HIDDEN])
    result.graph.input.extend(weights)
    for entry in [entry for entry in result.opset_import if entry.domain == HIDDEN]:
        result.opset_import.remove(entry)
    return result


def _hide_weights(proto: onnx.ModelProto, given: frozenset[str]) -> list[onnx.ValueInfoProto]:
    """Let one opaque node make all weights: onnxslim takes quadratic time in the inputs."""
    graph = proto.graph
    weights = [copy_of(value) for value in graph.input if value.name not in given]
    inputs = [copy_of(value) for value in graph.input if value.name in given]
    del graph.input[:]
    graph.input.extend(inputs)
    graph.value_info.extend(weights)
    names = [value.name for value in weights]
    source = onnx.helper.make_node("Weights", [], names, domain=HIDDEN)
    replace_nodes(graph, [source, *graph.node] if weights else graph.node)
    proto.opset_import.append(onnx.helper.make_opsetid(HIDDEN, 1))
    return weights


def _by_onnxsim(proto: onnx.ModelProto, _given: frozenset[str]) -> onnx.ModelProto:
    if not all(value.type.tensor_type.HasField("shape") for value in proto.graph.output):
        proto = onnx.shape_inference.infer_shapes(proto)  # it demands at least their rank
    with _quiet():
        simplified, _ = onnxsim.simplify(
            proto, skip_fuse_bn=True, skipped_optimizers=list(KEEP_ADDITIONS)
        )
    return simplified


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence native code that writes a line for each node that it cannot fold."""
    saved = os.dup(STDERR)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(saved, STDERR)
            os.close(saved)


SIMPLIFIERS: Mapping[str, Simplify] = {
    "The simplified model": lambda proto, given: _by_onnxslim(_by_onnxsim(proto, given), given),
    "The model simplified by onnxslim": _by_onnxslim,
    "The model simplified by onnxsim": _by_onnxsim,
    "The model as it is": lambda proto, _given: proto,
}
"""In the order in which they are tried. onnxslim folds more, but a large graph of shape arithmetic
takes it ten seconds, which onnxsim reduces to one."""


@dataclass(frozen=True)
class Form:
    """One form of a model.

    Attributes:
        how: how it was made, as the subject of a sentence.
        proto: its graph; the weights are graph inputs, after those of the user.
        weights: their values.
        input_count: number of the user's inputs.
    """

    how: str
    proto: onnx.ModelProto
    weights: Weights
    input_count: int

    @property
    def rounding(self) -> Rounding:
        """What tells differences that matter from those that rounding makes."""
        return Rounding(self.proto, self.weights)


def simplified_forms(proto: onnx.ModelProto) -> Iterator[Form]:
    """Forms of a model with fixed input shapes, the most promising first; the model is changed."""
    standardise(proto)
    inputs = [copy_of(value) for value in proto.graph.input]
    given = frozenset(value.name for value in inputs)
    weights = take_weights(proto)
    fold_weights(proto, weights)
    for upgraded in _upgraded_forms(proto):
        for how, simplify in SIMPLIFIERS.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = simplify(copy_of(upgraded), given)
                    if take_decided_branches(result):
                        result = simplify(result, given)
            except Exception as error:  # simplifiers raise whatever their own code trips over
                logger.debug("%s fails: %s", how, first_line(error))
                continue
            yield _finished(how, result, inputs, weights)


def _upgraded_forms(proto: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """The model at its own opset and at a newer one; the newer one first if it has layer norms.

    The converter rewrites operators that the importer understands as they are, so that it is the
    second choice otherwise.
    """
    own, version = _newer_file(proto), opset_of(proto)
    if version >= OPSET:
        yield own
        return
    ops = {node.op_type for node in proto.graph.node}
    if not ops >= LAYER_NORM_OPS:
        yield own
    try:
        yield onnx.version_converter.convert_version(copy_of(own), OPSET)
    except Exception as error:  # the converter raises many types about single operators
        logger.debug("The model stays at opset %d: %s", version, first_line(error))
    if ops >= LAYER_NORM_OPS:
        yield own


def opset_of(proto: onnx.ModelProto) -> int:
    """Version of the standard operators that a model uses."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    return int(max(versions, default=1))


def _newer_file(proto: onnx.ModelProto) -> onnx.ModelProto:
    result = copy_of(proto)
    result.ir_version = max(result.ir_version, IR_VERSION)
    return result


def _finished(
    how: str, proto: onnx.ModelProto, inputs: list[onnx.ValueInfoProto], weights: Weights
) -> Form:
    """Write what shapes decide in the form that can be pruned, and fold what is constant now."""
    weights = dict(weights)
    set_inputs(proto, inputs, weights)
    standardise(proto)
    weights |= take_weights(proto)
    explicit_padding(proto, View.of(proto, weights))
    lines_as_images(proto, View.of(proto, weights))
    transposed_weights_as_flags(proto, View.of(proto, weights))
    if opset_of(proto) >= LAYER_NORM_OPSET:
        whole_layer_norms(proto, View.of(proto, weights))
    fold_weights(proto, weights)
    without_dead_nodes(proto)
    constants_as_nodes(proto)
    set_inputs(proto, inputs, weights)
    return Form(how, proto, weights, len(inputs))
