"""Parts of ONNX that cannot be imported, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from tvm_prune.errors import ModelError
from tvm_prune.frontend.onnx_graph import subgraphs

CUT = "cut the model before that node (onnx.utils.extract_model) and prune the part in front of it"
UNROLL = "export it with its loop unrolled, or " + CUT
FLOAT = "export the model in floating point, prune it, and quantize the pruned model"
DECIDE = (
    "export it with fixed input shapes, so that the branch is decided, for example by torch.export"
)
PREPROCESS = "move that step out of the model, to where its inputs are prepared"

WAYS_OUT: Mapping[str, str] = {
    "LSTM": CUT,
    "GRU": CUT,
    "RNN": CUT,
    "Loop": UNROLL,
    "Scan": UNROLL,
    "ConvInteger": FLOAT,
    "QLinearConv": FLOAT,
    "QLinearMatMul": FLOAT,
    "StringConcat": PREPROCESS,
    "StringNormalizer": PREPROCESS,
    "StringSplit": PREPROCESS,
    "RegexFullMatch": PREPROCESS,
    "TfIdfVectorizer": PREPROCESS,
    "ImageDecoder": PREPROCESS,
}
"""Operators that no simplifier can remove, and the way out."""

STANDARD = frozenset({"", "ai.onnx"})
KNOWN_ELSEWHERE: Mapping[str, frozenset[str]] = {
    "com.microsoft": frozenset(
        {
            "Attention",
            "BiasGelu",
            "EmbedLayerNormalization",
            "FastGelu",
            "Gelu",
            "SkipLayerNormalization",
        }
    ),
}
"""Operators outside ONNX itself that TVM's importer knows."""


def refuse_unsupported(proto: onnx.ModelProto, name: str) -> None:
    """Name the first node that can be imported in no way.

    Raises:
        ModelError: if there is one.
    """
    for node in _all_nodes(proto.graph):
        way_out = _way_out(node)
        if way_out is not None:
            raise ModelError(
                f"The model '{name}' uses {described(node)}, which TVM cannot import; {way_out}."
            )
    for value in proto.graph.input:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type" or value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            what = "strings" if kind == "tensor_type" else f"a {str(kind).removesuffix('_type')}"
            raise ModelError(
                f"Input '{value.name}' of the model '{name}' is {what}, which TVM cannot take; "
                f"{PREPROCESS}."
            )


def refuse_branches(proto: onnx.ModelProto) -> None:
    """Name the first branch that is still undecided after simplification.

    Raises:
        ModelError: if there is one.
    """
    for node in proto.graph.node:
        if node.op_type == "If":
            raise ModelError(
                f"The model uses {described(node)}, whose branch depends on its input, which "
                f"cannot be pruned; {DECIDE}."
            )


def described(node: onnx.NodeProto) -> str:
    """A node for a message, by its operator and its name."""
    result = next(iter(node.output), "")
    operator = f"{node.domain}::{node.op_type}" if node.domain not in STANDARD else node.op_type
    return f"{operator} (node '{node.name or result}')"


def _way_out(node: onnx.NodeProto) -> str | None:
    if node.domain in STANDARD:
        return WAYS_OUT.get(node.op_type)
    if node.op_type in KNOWN_ELSEWHERE.get(node.domain, ()):
        return None
    return "export it with standard ONNX operators, or " + CUT


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _all_nodes(inner)
