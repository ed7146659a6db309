"""Runs an ONNX model in PyTorch, so that its gradients can be had: a row an op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch.nn import functional

from tvm_prune.errors import PruneError
from tvm_prune.model import Array

Attributes = Mapping[str, Any]
Run = Callable[[Sequence[Any], Attributes], Any]


class TorchGraph:
    """An ONNX model whose floating-point parameters are leaves that gather gradients.

    Args:
        model: an ONNX model, as :func:`tvm_prune.to_onnx.to_onnx` writes it.
        names: parameters whose gradients are wanted.

    Raises:
        PruneError: if an op has no row in ``OPS``.
    """

    def __init__(self, model: onnx.ModelProto, names: Collection[str] = ()) -> None:
        missing = sorted({node.op_type for node in model.graph.node} - set(OPS))
        if missing:
            raise PruneError(f"Gradients of {', '.join(missing)} through PyTorch are not known.")
        self.parameters: dict[str, Any] = {}
        for tensor in model.graph.initializer:
            value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            self.parameters[tensor.name] = value.requires_grad_(value.is_floating_point())
        self._nodes = [(node, _attributes(node)) for node in model.graph.node]
        self._outputs = [value.name for value in model.graph.output]
        self._names = list(names)

    def __call__(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Outputs for one batch."""
        values = {**self.parameters, **inputs}
        for node, attributes in self._nodes:
            arguments = [values[name] if name else None for name in node.input]
            result = OPS[node.op_type](arguments, attributes)
            results = result if isinstance(result, tuple | list) else (result,)
            values |= {name: part for name, part in zip(node.output, results, strict=False) if name}
        return [values[name] for name in self._outputs]

    def gradients(self, batch: Mapping[str, Array], seeds: list[Array]) -> dict[str, Array]:
        """Gradients, by parameter name, of the outputs' sum weighted by seeds.

        Args:
            batch: inputs by name.
            seeds: weights of every output, of its shape.
        """
        for name in self._names:
            self.parameters[name].grad = None
        outputs = self({name: torch.from_numpy(value) for name, value in batch.items()})
        torch.autograd.backward(outputs, [torch.from_numpy(seed) for seed in seeds])
        found = {name: self.parameters[name].grad for name in self._names}
        return {name: grad.numpy() for name, grad in found.items() if grad is not None}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = torch.from_numpy(np.array(onnx.numpy_helper.to_array(value)))
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _padded(data: Any, pads: Sequence[int], value: float = 0.0) -> tuple[Any, list[int]]:
    """Symmetric padding is left to the op; any other is put around the data."""
    rank = len(pads) // 2
    before, after = list(pads[:rank]), list(pads[rank:])
    if before == after:
        return data, before
    sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    return functional.pad(data, sides, value=value), [0] * rank


def _convolution(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, weight, *bias = inputs
    rank = weight.dim() - 2
    data, padding = _padded(data, attributes.get("pads", [0] * 2 * rank))
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    return run(
        data,
        weight,
        bias[0] if bias else None,
        stride=attributes.get("strides", [1] * rank),
        padding=padding,
        dilation=attributes.get("dilations", [1] * rank),
        groups=attributes.get("group", 1),
    )


def _max_pool(inputs: Sequence[Any], attributes: Attributes) -> Any:
    window = attributes["kernel_shape"]
    rank = len(window)
    pads = attributes.get("pads", [0] * 2 * rank)
    before, after = pads[:rank], pads[rank:]
    sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    data = functional.pad(inputs[0], sides, value=-float("inf")) if any(pads) else inputs[0]
    run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    strides = attributes.get("strides", [1] * rank)
    return run(data, window, strides, dilation=attributes.get("dilations", [1] * rank))


def _average_pool(inputs: Sequence[Any], attributes: Attributes) -> Any:
    window = attributes["kernel_shape"]
    rank = len(window)
    pads = attributes.get("pads", [0] * 2 * rank)
    strides = attributes.get("strides", [1] * rank)
    run = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    sides = [
        side for pair in zip(reversed(pads[:rank]), reversed(pads[rank:]), strict=True)
        for side in pair
    ]  # fmt: skip
    total = run(functional.pad(inputs[0], sides), window, strides)
    if attributes.get("count_include_pad", 0) or not any(pads):
        return total
    inside = functional.pad(torch.ones_like(inputs[0]), sides)
    return total / run(inside, window, strides)


def _batch_norm(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, scale, shift, mean, variance = inputs
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(data, mean.detach(), variance.detach(), scale, shift, eps=epsilon)


def _layer_norm(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, scale, *shift = inputs
    shape = data.shape[attributes.get("axis", -1) :]
    epsilon = attributes.get("epsilon", 1e-5)
    bias = shift[0].expand(shape) if shift and shift[0] is not None else None
    return functional.layer_norm(data, shape, scale.expand(shape), bias, epsilon)


def _dense(inputs: Sequence[Any], attributes: Attributes) -> Any:
    left, right, *bias = inputs
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    product = attributes.get("alpha", 1.0) * (left @ right)
    return product + attributes.get("beta", 1.0) * bias[0] if bias else product


def _reduction(run: Callable[..., Any]) -> Run:
    def reduce(inputs: Sequence[Any], attributes: Attributes) -> Any:
        has_axes = len(inputs) > 1 and inputs[1] is not None
        axes = inputs[1].tolist() if has_axes else list(range(inputs[0].dim()))
        return run(inputs[0], dim=axes, keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


def _slice(inputs: Sequence[Any], _attributes: Attributes) -> Any:
    data, starts, ends, axes, *steps = inputs
    for position, axis in enumerate(axes.tolist()):
        step = int(steps[0][position]) if steps else 1
        start, end, _ = slice(int(starts[position]), int(ends[position]), step).indices(
            data.shape[axis]
        )
        index = torch.arange(start, end, step)
        data = data.index_select(axis, index)
    return data


def _pad(inputs: Sequence[Any], attributes: Attributes) -> Any:
    pads, rank = inputs[1].tolist(), inputs[0].dim()
    sides = [s for axis in reversed(range(rank)) for s in (pads[axis], pads[rank + axis])]
    mode = attributes.get("mode", "constant")
    value = float(inputs[2]) if len(inputs) > 2 else 0.0
    if mode == "constant":
        return functional.pad(inputs[0], sides, value=value)
    return functional.pad(inputs[0], sides[: 2 * (rank - 2)], mode={"edge": "replicate"}[mode])


def _gelu(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return functional.gelu(inputs[0], approximate=attributes.get("approximate", "none"))


def _transposed(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return inputs[0].permute(attributes.get("perm", list(range(inputs[0].dim()))[::-1]))


def _unsqueezed(inputs: Sequence[Any], _attributes: Attributes) -> Any:
    shape = list(inputs[0].shape)
    rank = len(shape) + len(inputs[1])
    for axis in sorted(axis % rank for axis in inputs[1].tolist()):
        shape.insert(axis, 1)
    return inputs[0].reshape(shape)


def _gathered(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, index = inputs
    axis = attributes.get("axis", 0)
    rows = data.index_select(axis, index.reshape(-1).long() % data.shape[axis])
    return rows.reshape(*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])


def _clipped(inputs: Sequence[Any], _attributes: Attributes) -> Any:
    low, high = ([*inputs[1:], None, None])[:2]
    return torch.clamp(inputs[0], min=low, max=high)


def _plain(run: Callable[..., Any]) -> Run:
    return lambda inputs, _attributes: run(*inputs)


OPS: Mapping[str, Run] = {
    **{name: _plain(getattr(torch, name.lower())) for name in (
        "Abs", "Add", "Sub", "Mul", "Div", "Neg", "Exp", "Log", "Sqrt", "Tanh", "Sigmoid", "Erf",
        "Pow", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Reciprocal", "Where", "Equal",
        "Greater", "Less", "Relu", "MatMul", "Selu",
    )},
    "Max": _plain(torch.maximum),
    "Min": _plain(torch.minimum),
    "Not": _plain(torch.logical_not),
    "Identity": _plain(lambda value: value),
    "Constant": lambda _inputs, attributes: attributes["value"],
    "Conv": _convolution,
    "Gemm": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean(
        dim=tuple(range(2, inputs[0].dim())), keepdim=True
    ),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "Softmax": lambda inputs, a: torch.softmax(inputs[0], dim=a.get("axis", -1)),
    "LogSoftmax": lambda inputs, a: torch.log_softmax(inputs[0], dim=a.get("axis", -1)),
    "LeakyRelu": lambda inputs, a: functional.leaky_relu(inputs[0], a.get("alpha", 0.01)),
    "PRelu": _plain(lambda data, slope: torch.where(data > 0, data, data * slope)),
    "Softplus": _plain(functional.softplus),
    "Gelu": _gelu,
    "Clip": _clipped,
    "HardSigmoid": lambda inputs, a: torch.clamp(
        inputs[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _plain(functional.hardswish),
    "Reshape": _plain(lambda data, shape: data.reshape(shape.tolist())),
    "Flatten": lambda inputs, a: inputs[0].flatten(a.get("axis", 1)),
    "Transpose": _transposed,
    "Expand": _plain(lambda data, shape: data.expand(shape.tolist())),
    "Squeeze": _plain(lambda data, axes: data.squeeze(tuple(axes.tolist()))),
    "Unsqueeze": _unsqueezed,
    "Concat": lambda inputs, a: torch.cat(list(inputs), dim=a["axis"]),
    "Split": lambda inputs, a: torch.split(inputs[0], inputs[1].tolist(), dim=a.get("axis", 0)),
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gathered,
    "Einsum": lambda inputs, a: torch.einsum(a["equation"], *inputs),
    "Cast": lambda inputs, a: inputs[0].to(
        getattr(torch, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(a["to"]))))
    ),
}  # fmt: skip
"""By ONNX op: what it computes, given its inputs and attributes."""
