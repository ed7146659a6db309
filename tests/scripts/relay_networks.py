"""Runs inside an old TVM: saves Relay networks, and what that TVM computes with them.

python relay_networks.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tvm
from tvm import relay

TARGET = "llvm -mtriple=x86_64-linux-gnu"
generator = np.random.default_rng(0)


def variable(name, *shape):
    """A parameter."""
    return relay.var(name, shape=shape)


def image(*shape):
    return relay.var("image", shape=shape)


def convolutions():
    """A stem with batch norm, a depthwise and a dilated convolution, a shortcut, a classifier."""
    x = image(1, 3, 10, 10)
    h = relay.nn.conv2d(x, variable("stem.weight", 8, 3, 3, 3), padding=(1, 1), strides=(2, 2))
    h = relay.nn.bias_add(h, variable("stem.bias", 8))
    names = ("gamma", "beta", "moving_mean", "moving_var")
    h = relay.nn.batch_norm(h, *(variable(f"norm.{name}", 8) for name in names))[0]
    h = relay.clip(h, 0.0, 6.0)
    y = relay.nn.conv2d(
        h, variable("depthwise.weight", 8, 1, 3, 3), padding=(1, 1), groups=8, kernel_size=(3, 3)
    )
    y = relay.nn.leaky_relu(y, alpha=0.1)
    y = relay.nn.conv2d(y, variable("point.weight", 8, 8, 3, 3), padding=(2, 2), dilation=(2, 2))
    h = relay.nn.relu(relay.add(h, y))
    h = relay.concatenate([h, relay.tanh(h)], axis=1)
    h = relay.nn.dropout(h, rate=0.3)
    h = relay.nn.avg_pool2d(
        h, pool_size=(3, 3), strides=(2, 2), padding=(1, 1), count_include_pad=True
    )
    h = relay.nn.batch_flatten(relay.mean(h, axis=[1], exclude=False, keepdims=True) + h)
    h = relay.nn.dense(h, variable("fc.weight", 5, 144))
    return relay.nn.softmax(relay.nn.bias_add(h, variable("fc.bias", 5)), axis=-1)


def channels_last():
    """A network in TensorFlow's layout, whose softmax runs over an axis in the middle."""
    x = image(1, 8, 8, 3)
    kernel = {"data_layout": "NHWC", "kernel_layout": "HWIO", "kernel_size": (3, 3)}
    h = relay.nn.conv2d(x, variable("w1", 3, 3, 3, 6), channels=6, padding=(1, 1), **kernel)
    h = relay.nn.relu(relay.nn.bias_add(h, variable("b1", 6), axis=3))
    h = relay.nn.max_pool2d(h, pool_size=(2, 2), strides=(2, 2), layout="NHWC")
    h = relay.nn.conv2d(h, variable("w2", 3, 3, 6, 4), channels=4, **kernel)
    return relay.nn.softmax(h, axis=1)


def attention():
    """One attention layer over eight tokens, with a layer norm and reshapes by codes."""
    tokens, width = 8, 12
    x = relay.var("image", shape=(1, tokens, width))
    n = relay.nn.layer_norm(x, variable("norm.gamma", width), variable("norm.beta", width))
    flat = relay.reshape(n, (-3, 0))
    q, k, v = (
        relay.expand_dims(relay.nn.dense(flat, variable(f"{name}.weight", width, width)), axis=0)
        for name in "qkv"
    )
    scores = relay.nn.batch_matmul(q, k) / relay.sqrt(relay.const(float(width)))
    mixed = relay.nn.batch_matmul(relay.nn.softmax(scores), v, transpose_b=False)
    h = relay.squeeze(relay.add(mixed, x), axis=[0])
    h = relay.nn.dense(h, variable("out.weight", 4, width))
    return relay.max(relay.erf(h) * relay.const(0.5), axis=-1, exclude=True)


def unsupported():
    """Operators that ONNX has in no form."""
    h = relay.vision.yolo_reorg(image(1, 4, 4, 4), stride=2)
    return relay.nn.upsampling3d(relay.expand_dims(h, axis=0), 2, 2, 2)


NETWORKS = {
    "convolutions": convolutions,
    "channels_last": channels_last,
    "attention": attention,
}


def values(module):
    """A value for each parameter; variances are positive."""
    found = {}
    for parameter in module["main"].params:
        shape = [int(extent) for extent in parameter.checked_type.shape]
        fan_in = max(1, int(np.prod(shape[1:]))) if len(shape) > 1 else 4
        array = generator.standard_normal(shape) / fan_in**0.5
        found[parameter.name_hint] = np.abs(array) + 0.5 if "var" in parameter.name_hint else array
    return {name: array.astype("float32") for name, array in found.items()}


def save(folder, name, body):
    module = relay.transform.InferType()(tvm.IRModule.from_expr(body))
    arrays = values(module)
    x = arrays.pop("image")
    parameters = {key: tvm.nd.array(value) for key, value in arrays.items()}
    (folder / f"{name}.json").write_text(tvm.ir.save_json(module), encoding="utf-8")
    (folder / f"{name}.txt").write_text(module.astext(show_meta_data=True), encoding="utf-8")
    (folder / f"{name}.params").write_bytes(relay.save_param_dict(parameters))
    with tvm.transform.PassContext(opt_level=0):
        executor = relay.create_executor("graph", mod=module, target=TARGET)
    y = executor.evaluate()(x, **parameters).numpy()
    np.savez(folder / f"{name}.npz", image=x, output=y, **arrays)


if __name__ == "__main__":
    for network, make in NETWORKS.items():
        save(Path(sys.argv[1]), network, make())
    text = tvm.ir.save_json(tvm.IRModule.from_expr(unsupported()))
    (Path(sys.argv[1]) / "unsupported.json").write_text(text, encoding="utf-8")
