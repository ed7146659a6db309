"""Networks for the rows of matrix products, einsum and attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers, bent, shape_of

op = relax.op


def tokens(net: Layers, x: Any, channels: int = 8) -> Any:
    """Channels last: one row a pixel."""
    shape = shape_of(x)
    h = op.reshape(net.conv(x, channels), (shape[0], channels, shape[2] * shape[3]))
    return net.emit(op.permute_dims(h, [0, 2, 1]))


def matmul_right(net: Layers, x: Any) -> Any:
    h = op.nn.relu(net.linear(tokens(net, x), 6))
    return net.linear(op.mean(h, [1]), 5)


def matmul_left(net: Layers, x: Any) -> Any:
    """W @ h, as importers write a dense layer on columns."""
    h = net.emit(op.reshape(net.conv(x, 8), (2, 8, 36)))
    h = net.emit(op.nn.relu(op.matmul(net.parameter((6, 8)), h)))
    return net.emit(op.matmul(net.parameter((5, 6)), h))


def matmul_batched(net: Layers, x: Any) -> Any:
    """A stack of weights, one for each sample."""
    h = op.matmul(tokens(net, x), net.parameter((2, 8, 6), "matmul"))
    return net.linear(net.emit(op.mean(net.emit(op.nn.relu(h)), [1])), 5)


def matmul_vector(net: Layers, x: Any) -> Any:
    """A matrix times a vector leaves no channel axis at all."""
    return net.emit(op.matmul(tokens(net, x), net.parameter((8,))))


def matmul_transposed(net: Layers, x: Any) -> Any:
    """Torch's Linear: the weight is transposed in the graph."""
    weight = op.permute_dims(net.parameter((6, 8)), None)
    h = op.nn.relu(net.emit(op.matmul(tokens(net, x), net.emit(weight))))
    return net.linear(op.mean(h, [1]), 5)


def token_mean(net: Layers, h: Any) -> Any:
    """Contract the channels of tokens."""
    return net.linear(op.mean(net.emit(h), [1]), 5)


def matmul_of_activations(net: Layers, x: Any) -> Any:
    """Every token is compared with every other; what is compared is never zero."""
    left, right = (op.exp(op.tanh(tokens(net, x))) for _ in range(2))
    scores = op.matmul(left, op.permute_dims(right, [0, 2, 1]))
    return token_mean(net, op.matmul(op.nn.softmax(scores), tokens(net, x, 6)))


def matmul_over_tokens(net: Layers, x: Any) -> Any:
    """Channels are compared with channels."""
    h = tokens(net, x)
    scores = op.nn.softmax(op.matmul(op.permute_dims(h, [0, 2, 1]), tokens(net, x)))
    return token_mean(net, op.matmul(h, scores))


def matmul_of_vectors(net: Layers, x: Any) -> Any:
    """Both operands have one axis only."""
    gain = op.matmul(net.parameter((8,), "gamma"), op.exp(net.parameter((8,), "gamma")))
    return token_mean(net, op.multiply(tokens(net, x), gain))


def matmul_broadcast(net: Layers, x: Any) -> Any:
    """A matrix of each head is shared by all images."""
    h = op.reshape(tokens(net, x, 12), (2, 36, 2, 6))
    h = op.matmul(op.permute_dims(h, [0, 2, 1, 3]), net.parameter((1, 2, 6, 4), "matmul"))
    h = op.reshape(op.permute_dims(h, [0, 2, 1, 3]), (2, 36, 8))
    return token_mean(net, bent(h))


def einsum_graph(subscripts: str, *shapes: tuple[int, ...]) -> Body:
    """Tokens of shape (2, 36, 8) and weights of the given shapes; the result is averaged."""

    def body(net: Layers, x: Any) -> Any:
        weights = [net.parameter(shape) for shape in shapes]
        h = net.emit(op.einsum([bent(tokens(net, x)), *weights], subscripts))
        others = list(range(1, len(shape_of(h)) - 1))
        return net.linear(op.mean(h, others) if others else h, 5)

    return body


def einsum_of_activations(net: Layers, x: Any) -> Any:
    left, right = (op.exp(op.tanh(tokens(net, x))) for _ in range(2))
    scores = net.emit(op.einsum([net.emit(left), net.emit(right)], "bic,bjc->bij"))
    attended = op.einsum([net.emit(op.nn.softmax(scores)), tokens(net, x, 6)], "bij,bjd->bid")
    return token_mean(net, attended)


def einsum_bilinear(net: Layers, x: Any) -> Any:
    left = op.mean(tokens(net, x), [1])
    right = op.mean(tokens(net, x, 6), [1])
    factors = [net.emit(left), net.parameter((5, 8, 6)), net.emit(right)]
    return net.emit(op.einsum(factors, "bi,oij,bj->bo"))


def einsum_diagonal(net: Layers, x: Any) -> Any:
    """The diagonal of a square weight scales the channels; its trace shifts them."""
    square = net.parameter((8, 8))
    scale = net.emit(op.einsum([square], "ii->i"))
    trace = net.emit(op.einsum([square], "ii->"))
    return token_mean(net, op.add(op.multiply(tokens(net, x), scale), trace))


def einsum_sum(net: Layers, x: Any) -> Any:
    """A sum over channels that are never zero."""
    total = net.emit(op.einsum([net.emit(op.exp(op.tanh(tokens(net, x))))], "btc->bt"))
    return net.linear(op.multiply(total, op.mean(tokens(net, x), [2])), 5)


def attention_graph(bias: bool = False, causal: str | None = None) -> Body:
    """Four heads of four dimensions, with values of three, whose scale is the default one."""

    def body(net: Layers, x: Any) -> Any:
        def heads(dimensions: int) -> Any:
            projected = net.linear(tokens(net, x), 4 * dimensions)
            return net.emit(op.reshape(bent(projected), (2, 36, 4, dimensions)))

        shift = net.parameter((1, 4, 36, 36), "bias") if bias else None
        h = net.emit(op.nn.attention(heads(4), heads(4), heads(3), shift, causal_mask=causal))
        return token_mean(net, op.reshape(h, (2, 36, 12)))

    return body


CONTRACTION_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.matmul": {
        "right": matmul_right,
        "left": matmul_left,
        "batched": matmul_batched,
        "vector": matmul_vector,
        "transposed": matmul_transposed,
        "activations": matmul_of_activations,
        "over_tokens": matmul_over_tokens,
        "vectors": matmul_of_vectors,
        "broadcast": matmul_broadcast,
    },
    "relax.einsum": {
        "linear": einsum_graph("btc,oc->bto", (6, 8)),
        "ellipsis": einsum_graph("...c,co", (8, 6)),
        "depthwise": einsum_graph("btc,c->btc", (8,)),
        "outer": einsum_graph("btc,o->btoc", (6,)),
        "tokens": einsum_graph("btc,ts->bsc", (36, 4)),
        "activations": einsum_of_activations,
        "bilinear": einsum_bilinear,
        "diagonal": einsum_diagonal,
        "sum": einsum_sum,
    },
    "relax.nn.attention": {
        "": attention_graph(),
        "causal": attention_graph(causal="TopLeft"),
    },
    "relax.nn.attention_bias": {"": attention_graph(bias=True)},
}
