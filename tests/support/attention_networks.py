"""Attention layers as exporters write them: heads are made by reshapes of projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers, shape_of

op = relax.op

HEADS, DIMENSIONS = 3, 4
WIDTH = HEADS * DIMENSIONS
TOKENS = (2, 9, 6)
"""Batch, tokens, channels of the input."""


def biased(net: Layers, x: Any, out: int) -> Any:
    """A linear layer with bias."""
    return net.emit(op.add(net.linear(x, out), net.parameter((out,), "bias")))


def take(x: Any, index: int) -> Any:
    """One entry of the first axis, as an index into it."""
    return op.take(x, relax.const(index, "int64"), axis=0)


def scores_and_values(net: Layers, query: Any, key: Any, value: Any, bias: Any = None) -> Any:
    """Attention of operands of shape (batch, heads, tokens, dimensions)."""
    turned = net.emit(op.permute_dims(net.emit(key), [0, 1, 3, 2]))
    scores = net.emit(op.multiply(op.matmul(net.emit(query), turned), relax.const(0.5, "float32")))
    scores = scores if bias is None else net.emit(op.add(scores, bias))
    return net.emit(op.matmul(net.emit(op.nn.softmax(scores)), net.emit(value)))


def joined(net: Layers, x: Any) -> Any:
    """(batch, heads, tokens, dimensions) becomes (batch, tokens, heads x dimensions)."""
    batch, heads, tokens, dimensions = shape_of(x)
    h = op.permute_dims(x, [0, 2, 1, 3])
    return net.emit(op.reshape(h, (batch, tokens, heads * dimensions)))


def apart(net: Layers, x: Any, heads: int = HEADS) -> Any:
    """(batch, tokens, channels) becomes (batch, heads, tokens, dimensions)."""
    batch, tokens, channels = shape_of(x)
    h = op.reshape(x, (batch, tokens, heads, channels // heads))
    return net.emit(op.permute_dims(h, [0, 2, 1, 3]))


def output(net: Layers, x: Any) -> Any:
    return net.linear(op.mean(biased(net, x, 8), [1]), 5)


def separate_projections(net: Layers, x: Any) -> Any:
    """Query, key and value have a linear layer each."""
    query, key, value = (apart(net, biased(net, x, WIDTH)) for _ in range(3))
    return output(net, joined(net, scores_and_values(net, query, key, value)))


def one_projection(net: Layers, x: Any) -> Any:
    """One linear layer; its result is cut into three, heads and dimensions at once."""
    batch, tokens, _ = shape_of(x)
    h = op.reshape(biased(net, x, 3 * WIDTH), (batch, tokens, 3, HEADS, DIMENSIONS))
    h = net.emit(op.permute_dims(h, [2, 0, 3, 1, 4]))
    query, key, value = (take(h, index) for index in range(3))
    bias = net.parameter((1, HEADS, tokens, tokens), "bias")
    return output(net, joined(net, scores_and_values(net, query, key, value, bias)))


def projection_cut_in_two_steps(net: Layers, x: Any) -> Any:
    """One linear layer; its result is cut into three first, each of them into heads later.

    Batch and heads are one axis, as in older exports.
    """
    batch, tokens, _ = shape_of(x)
    h = net.emit(op.permute_dims(x, [1, 0, 2]))
    h = op.reshape(biased(net, h, 3 * WIDTH), (tokens, batch, 3, WIDTH))
    h = op.squeeze(op.permute_dims(op.expand_dims(h, [0]), [3, 1, 2, 0, 4]), [3])
    h = net.emit(h)
    query, key, value = (
        op.permute_dims(
            op.reshape(net.emit(take(h, index)), (tokens, batch * HEADS, DIMENSIONS)), [1, 0, 2]
        )
        for index in range(3)
    )
    scores = op.matmul(net.emit(query), net.emit(op.permute_dims(net.emit(key), [0, 2, 1])))
    h = net.emit(op.matmul(net.emit(op.nn.softmax(net.emit(scores))), net.emit(value)))
    h = op.reshape(net.emit(op.permute_dims(h, [1, 0, 2])), (tokens, batch, WIDTH))
    return output(net, net.emit(op.permute_dims(net.emit(h), [1, 0, 2])))


def sliced_projection(net: Layers, x: Any) -> Any:
    """One linear layer; its result is sliced into three; products are einsums."""
    batch, tokens, _ = shape_of(x)
    h = biased(net, x, 3 * WIDTH)
    query, key, value = (
        op.reshape(
            net.emit(op.strided_slice(h, [2], [begin], [begin + WIDTH])),
            (batch, tokens, HEADS, DIMENSIONS),
        )
        for begin in range(0, 3 * WIDTH, WIDTH)
    )
    scores = net.emit(op.einsum([net.emit(query), net.emit(key)], "bihd,bjhd->bhij"))
    weights = net.emit(op.nn.softmax(scores))
    h = net.emit(op.einsum([weights, net.emit(value)], "bhij,bjhd->bihd"))
    return output(net, net.emit(op.reshape(h, (batch, tokens, WIDTH))))


def cross_attention(net: Layers, x: Any) -> Any:
    """Learned queries look at the tokens."""
    queries = op.broadcast_to(net.parameter((1, 5, 7), "bias"), (2, 5, 7))
    query = apart(net, biased(net, queries, WIDTH))
    key, value = (apart(net, biased(net, x, WIDTH)) for _ in range(2))
    return output(net, joined(net, scores_and_values(net, query, key, value)))


def grouped_queries(net: Layers, x: Any) -> Any:
    """Two query heads share each of three heads of keys and values."""
    batch, tokens, _ = shape_of(x)

    def repeated(h: Any) -> Any:
        wide = op.broadcast_to(op.expand_dims(h, [2]), (batch, HEADS, 2, tokens, DIMENSIONS))
        return net.emit(op.reshape(wide, (batch, 2 * HEADS, tokens, DIMENSIONS)))

    query = apart(net, biased(net, x, 2 * WIDTH), 2 * HEADS)
    key, value = (repeated(apart(net, biased(net, x, WIDTH))) for _ in range(2))
    return output(net, joined(net, scores_and_values(net, query, key, value)))


def one_key_head(net: Layers, x: Any) -> Any:
    """All query heads share one head of keys and values."""
    query = apart(net, biased(net, x, WIDTH))
    key, value = (apart(net, biased(net, x, DIMENSIONS), 1) for _ in range(2))
    return output(net, joined(net, scores_and_values(net, query, key, value)))


def many_small_heads(net: Layers, x: Any) -> Any:
    """More heads than dimensions in each."""
    query, key, value = (apart(net, biased(net, x, WIDTH), 6) for _ in range(3))
    return output(net, joined(net, scores_and_values(net, query, key, value)))


def kernel_attention(net: Layers, x: Any) -> Any:
    """Keys and values meet before the queries; what is contracted is never zero."""
    query, key, value = (apart(net, biased(net, x, WIDTH)) for _ in range(3))
    query, key = (net.emit(op.exp(op.tanh(h))) for h in (query, key))
    memory = net.emit(op.matmul(net.emit(op.permute_dims(key, [0, 1, 3, 2])), value))
    return output(net, joined(net, net.emit(op.matmul(query, memory))))


def talking_heads(net: Layers, x: Any) -> Any:
    """Scores of one head are mixed into those of others."""
    query, key, value = (apart(net, biased(net, x, WIDTH)) for _ in range(3))
    scores = net.emit(op.matmul(query, net.emit(op.permute_dims(key, [0, 1, 3, 2]))))
    mixing = net.parameter((HEADS, HEADS))
    mixed = net.emit(op.einsum([scores, mixing], "bhij,hg->bgij"))
    h = net.emit(op.matmul(net.emit(op.nn.softmax(mixed)), value))
    return output(net, joined(net, h))


ATTENTION_NETWORKS: Mapping[str, Body] = {
    "separate": separate_projections,
    "one_projection": one_projection,
    "two_steps": projection_cut_in_two_steps,
    "sliced": sliced_projection,
    "cross": cross_attention,
    "grouped_queries": grouped_queries,
    "one_key_head": one_key_head,
    "many_small_heads": many_small_heads,
    "kernel": kernel_attention,
    "talking": talking_heads,
}
"""Attention layers by name; the input has the shape `TOKENS`."""
