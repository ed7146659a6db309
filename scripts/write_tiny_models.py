#!/usr/bin/env python3
"""Write the four MLPerf Tiny networks as ONNX files, with seeded random weights.

Usage::

    python scripts/write_tiny_models.py [--output DIR] [--seed N]

The architectures are those of the benchmark (Banbury et al., "MLPerf Tiny Benchmark", 2021) with
batch normalisations left in place: ``resnet8`` (image classification), ``ds_cnn`` (keyword
spotting), ``mobilenet_v1_025`` (visual wake words) and ``autoencoder`` (anomaly detection). What
they compute costs the same whatever the weights; weights and statistics are drawn such that
activations keep unit scale, so that comparing outputs means something.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
INPUT = "input"
OUTPUT = "output"

Pads = tuple[int, int, int, int]
"""Top, left, bottom, right."""


class Network:
    """An ONNX graph that grows layer by layer.

    Args:
        name: name of the graph.
        shape: shape of its input, NCHW or (N, features).
        seed: start of the random weights.
    """

    def __init__(self, name: str, shape: Sequence[int], seed: int) -> None:
        self.name = name
        self.shape = list(shape)
        self._generator = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, values: Any) -> str:
        """Add an initializer; returns its name."""
        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def random(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Any:
        """Normally distributed values."""
        return self._generator.standard_normal(shape) * scale + shift

    def conv(
        self,
        name: str,
        data: str,
        channels: tuple[int, int],
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        pads: Pads = (0, 0, 0, 0),
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution from `channels[0]` to `channels[1]` channels."""
        fan_in = channels[0] // groups
        scale = (2 / (fan_in * kernel[0] * kernel[1])) ** 0.5
        values = self.random(channels[1], fan_in, *kernel, scale=scale)
        weights = [self.weight(f"{name}.weight", values)]
        if bias:
            weights.append(self.weight(f"{name}.bias", self.random(channels[1], scale=0.1)))
        return self.node(
            "Conv",
            name,
            [data, *weights],
            kernel_shape=kernel,
            strides=[stride, stride],
            pads=pads,
            group=groups,
        )

    def batch_norm(self, data: str, channels: int, *, relu: bool = True) -> str:
        """Batch normalisation, and the activation behind it."""
        name = f"{data}_bn"
        parameters = {
            "gamma": self.random(channels, scale=0.1, shift=1.0),
            "beta": self.random(channels, scale=0.1),
            "mean": self.random(channels, scale=0.1),
            "variance": self._generator.uniform(0.8, 1.2, channels),
        }
        weights = [self.weight(f"{name}.{key}", value) for key, value in parameters.items()]
        normalized = self.node("BatchNormalization", name, [data, *weights])
        return self.node("Relu", f"{data}_relu", [normalized]) if relu else normalized

    def dense(self, name: str, data: str, features: tuple[int, int]) -> str:
        """A fully connected layer with a bias."""
        scale = (2 / features[0]) ** 0.5
        weight = self.weight(f"{name}.weight", self.random(features[1], features[0], scale=scale))
        bias = self.weight(f"{name}.bias", self.random(features[1], scale=0.1))
        return self.node("Gemm", name, [data, weight, bias], transB=1)

    def classifier(self, data: str, channels: int, pool: tuple[int, int], classes: int) -> str:
        """Average pooling over the whole image, a dense layer and softmax."""
        pooled = self.node("AveragePool", "pool", [data], kernel_shape=pool)
        flat = self.node("Flatten", "flat", [pooled])
        return self.node("Softmax", "softmax", [self.dense("dense", flat, (channels, classes))])

    def model(self, output: str) -> onnx.ModelProto:
        """The finished network."""
        self.node("Identity", OUTPUT, [output])
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
            self._weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        return model


def resnet8(seed: int) -> onnx.ModelProto:
    """Image classification on CIFAR-10: 3x32x32, 12.5 million multiply-accumulates."""
    network = Network("resnet8", [1, 3, 32, 32], seed)
    data = network.batch_norm(
        network.conv("stem", INPUT, (3, 16), (3, 3), pads=(1, 1, 1, 1), bias=True), 16
    )
    narrow = 16
    for stage, wide in enumerate((16, 32, 64), start=1):
        stride, pads = (1, (1, 1, 1, 1)) if wide == narrow else (2, (0, 0, 1, 1))
        first = network.conv(
            f"stage{stage}.conv1", data, (narrow, wide), (3, 3), stride=stride, pads=pads, bias=True
        )
        second = network.conv(
            f"stage{stage}.conv2", network.batch_norm(first, wide), (wide, wide), (3, 3),
            pads=(1, 1, 1, 1), bias=True,
        )  # fmt: skip
        branch = network.batch_norm(second, wide, relu=False)
        if wide != narrow:
            data = network.conv(
                f"stage{stage}.shortcut", data, (narrow, wide), (1, 1), stride=stride, bias=True
            )
        added = network.node("Add", f"stage{stage}.add", [data, branch])
        data = network.node("Relu", f"stage{stage}.relu", [added])
        narrow = wide
    return network.model(network.classifier(data, 64, (8, 8), 10))


def ds_cnn(seed: int) -> onnx.ModelProto:
    """Keyword spotting: 49 frames of 10 features, 2.7 million multiply-accumulates."""
    network = Network("ds_cnn", [1, 1, 49, 10], seed)
    data = network.batch_norm(
        network.conv("stem", INPUT, (1, 64), (10, 4), stride=2, pads=(4, 1, 5, 1), bias=True), 64
    )
    for block in range(1, 5):
        data = _separable(network, f"block{block}", data, (64, 64), 1, bias=True)
    return network.model(network.classifier(data, 64, (25, 5), 12))


def mobilenet_v1_025(seed: int) -> onnx.ModelProto:
    """Visual wake words: MobileNetV1 with width 0.25 at 96x96, 7.5 million multiply-accumulates."""
    network = Network("mobilenet_v1_025", [1, 3, 96, 96], seed)
    data = network.batch_norm(
        network.conv("stem", INPUT, (3, 8), (3, 3), stride=2, pads=(0, 0, 1, 1)), 8
    )
    narrow = 8
    widths = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5]
    for block, (wide, stride) in enumerate([*widths, (256, 2), (256, 1)], start=1):
        data = _separable(network, f"block{block}", data, (narrow, wide), stride)
        narrow = wide
    return network.model(network.classifier(data, 256, (3, 3), 2))


def autoencoder(seed: int) -> onnx.ModelProto:
    """Anomaly detection in sounds: dense layers only, 0.26 million multiply-accumulates."""
    network = Network("autoencoder", [1, 640], seed)
    features = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)
    data = INPUT
    for layer, pair in enumerate(itertools.pairwise(features), start=1):
        data = network.batch_norm(network.dense(f"dense{layer}", data, pair), pair[1])
    return network.model(network.dense("reconstruction", data, (128, 640)))


def _separable(
    network: Network,
    name: str,
    data: str,
    channels: tuple[int, int],
    stride: int,
    *,
    bias: bool = False,
) -> str:
    """A depthwise 3x3 and a pointwise convolution."""
    narrow, wide = channels
    pads = (1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1)
    depthwise = network.conv(
        f"{name}.depthwise", data, (narrow, narrow), (3, 3), stride=stride, pads=pads,
        groups=narrow, bias=bias,
    )  # fmt: skip
    inner = network.batch_norm(depthwise, narrow)
    return network.batch_norm(
        network.conv(f"{name}.pointwise", inner, (narrow, wide), (1, 1), bias=bias), wide
    )


NETWORKS: Mapping[str, Callable[[int], onnx.ModelProto]] = {
    "resnet8": resnet8,
    "ds_cnn": ds_cnn,
    "mobilenet_v1_025": mobilenet_v1_025,
    "autoencoder": autoencoder,
}


def write_models(directory: Path, names: Sequence[str] = tuple(NETWORKS), seed: int = 0) -> None:
    """Write networks as ``NAME.onnx``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        onnx.save(NETWORKS[name](seed), str(directory / f"{name}.onnx"))


def main() -> None:
    """Write all networks."""
    parser = argparse.ArgumentParser(description="Write the MLPerf Tiny networks as ONNX files.")
    parser.add_argument("--output", type=Path, default=Path("tiny_models"), help="directory")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    options = parser.parse_args()
    write_models(options.output, seed=options.seed)
    print(f"{', '.join(NETWORKS)} written to {options.output}/")


if __name__ == "__main__":
    main()
