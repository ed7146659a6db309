#!/usr/bin/env python3
"""Train the example network on Fashion-MNIST and write the files in ``examples/``.

Usage::

    python scripts/train_example.py [--data DIR] [--epochs N] [--seed N] [--output DIR]

It needs ``torch``, ``onnx`` and ``onnxruntime``, runs on the CPU, and writes three files:

``fashion_resnet8.onnx``
    The trained network, with its batch normalisations left in place.
``fashion_calibration.npz``
    512 images of the training set that the network was not trained on.
``fashion_test.npz``
    The first 2,000 images of the test set.

In both archives the array ``input`` holds exactly what the model's input of that name takes, and
``label`` holds the classes. Nothing is written when the network misses the required accuracy.
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE_SIZE = 28
CLASSES = 10
WIDTHS = (32, 64, 96)
INPUT_NAME = "input"
OUTPUT_NAME = "logits"

DEFAULT_DATA = Path("/usr/share/datasets/fashion-mnist")
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "examples"


class ExampleError(Exception):
    """A failure whose message alone tells the user what went wrong."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the script produces."""

    data: Path = DEFAULT_DATA
    output: Path = DEFAULT_OUTPUT
    epochs: int = 12
    seed: int = 0
    # Sums are split by thread, so the result is repeatable only for a fixed number of threads.
    threads: int = 2
    batch_size: int = 128
    peak_learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    max_shift: int = 2
    calibration_images: int = 512
    test_images: int = 2_000
    required_accuracy: float = 0.91
    logit_tolerance: float = 1e-3
    opset: int = 17


@dataclass(frozen=True)
class Split:
    """Images as float32 ``(N, 1, 28, 28)`` in [0, 1], and their classes as int64 ``(N,)``."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, selection: np.ndarray | slice) -> Split:
        """Return the selected images with their classes."""
        return Split(self.images[selection], self.labels[selection])


@dataclass(frozen=True)
class Accuracy:
    """Share of correctly classified test images, on all of them and on the published part."""

    full: float
    published: float

    def __str__(self) -> str:
        return f"{self.full:.2%} of the full test set, {self.published:.2%} of fashion_test.npz"


# --- Data -----------------------------------------------------------------------------------------


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise ExampleError(
            f"{path} is missing: run `apt-get install dataset-fashion-mnist`, "
            "or name the folder that holds the data with --data."
        ) from error
    _, dimensions = struct.unpack_from(">HxB", content)
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def load_split(folder: Path, prefix: str) -> Split:
    """Load the ``train`` or the ``t10k`` half of Fashion-MNIST."""
    pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    images = pixels[:, np.newaxis].astype(np.float32) / np.float32(255)
    return Split(images, labels.astype(np.int64))


def hold_out(split: Split, count: int, generator: np.random.Generator) -> tuple[Split, Split]:
    """Split at random into ``count`` held-out images and the rest; return the rest first."""
    order = generator.permutation(len(split))
    return split.take(order[count:]), split.take(order[:count])


def augment(images: np.ndarray, max_shift: int, generator: np.random.Generator) -> np.ndarray:
    """Shift every image by up to ``max_shift`` pixels each way and mirror half of them."""
    count = len(images)
    margin = (max_shift, max_shift)
    padded = np.pad(images[:, 0], ((0, 0), margin, margin))
    offsets = generator.integers(0, 2 * max_shift, size=(2, count, 1), endpoint=True)
    rows, columns = offsets + np.arange(IMAGE_SIZE)
    mirrored = generator.random(count) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    which = np.arange(count)[:, np.newaxis, np.newaxis]
    moved: np.ndarray = padded[which, rows[:, :, np.newaxis], columns[:, np.newaxis, :]]
    return moved[:, np.newaxis]


def training_batches(
    split: Split, settings: Settings, generator: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of shuffled, augmented batches."""
    order = generator.permutation(len(split))
    for start in range(0, len(split), settings.batch_size):
        batch = split.take(order[start : start + settings.batch_size])
        images = augment(batch.images, settings.max_shift, generator)
        yield as_network_input(images), torch.from_numpy(batch.labels)


def as_network_input(images: np.ndarray) -> Tensor:
    """Return the images as a tensor in the memory layout the network computes fastest in."""
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


# --- Network --------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same_shape = inputs == outputs and stride == 1
        self.shortcut = None if same_shape else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return functional.relu(residual + shortcut, inplace=True)


class ResNet8(nn.Module):  # type: ignore[misc]
    """The ResNet-8 layout of MLPerf Tiny, for one-channel images and with wider stages."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.stem = nn.Conv2d(1, first, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(first)
        self.stage1 = ResidualBlock(first, first, stride=1)
        self.stage2 = ResidualBlock(first, second, stride=2)
        self.stage3 = ResidualBlock(second, third, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(third, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_bn(self.stem(x)), inplace=True)
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.dense(torch.flatten(self.pool(x), start_dim=1))


# --- Training -------------------------------------------------------------------------------------


def make_repeatable(settings: Settings) -> None:
    """Let the same settings lead to the same weights on the same machine."""
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before it is written, and filling it takes a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(settings.threads)


def train(
    network: nn.Module,
    training: Split,
    held_out: Split,
    settings: Settings,
    generator: np.random.Generator,
) -> None:
    """Train the network in place.

    The accuracy on the held-out images is printed to follow the progress; it decides nothing, and
    the network after the last epoch is the one that counts.
    """
    network.to(memory_format=torch.channels_last)
    loss_function = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.peak_learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
    )
    steps = settings.epochs * math.ceil(len(training) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.peak_learning_rate, total_steps=steps, pct_start=0.2
    )
    for epoch in range(1, settings.epochs + 1):
        started = time.monotonic()
        network.train()
        losses = []
        for images, labels in training_batches(training, settings, generator):
            optimizer.zero_grad()
            loss = loss_function(network(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        correct = share_correct(torch_logits(network, held_out.images), held_out.labels)
        print(
            f"epoch {epoch:2d}/{settings.epochs}: loss {np.mean(losses):.4f}, "
            f"held-out accuracy {correct:.2%}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    network.to(memory_format=torch.contiguous_format)


# --- Evaluation -----------------------------------------------------------------------------------


def torch_logits(network: nn.Module, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """Return the network's logits for all images, computed by PyTorch."""
    network.eval()
    batches = as_network_input(images).split(batch_size)
    with torch.inference_mode():
        logits: np.ndarray = torch.cat([network(batch) for batch in batches]).numpy()
    return logits


def onnx_logits(model: onnx.ModelProto, images: np.ndarray, threads: int) -> np.ndarray:
    """Return the model's logits for all images, computed by ONNX Runtime one image at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    singles = np.split(images, len(images))
    return np.concatenate([session.run([OUTPUT_NAME], {INPUT_NAME: one})[0] for one in singles])


def share_correct(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose largest logit is that of their class."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def measure(logits: np.ndarray, test: Split, settings: Settings) -> Accuracy:
    """Return the accuracy of these logits of the full test set."""
    published = slice(settings.test_images)
    return Accuracy(
        full=share_correct(logits, test.labels),
        published=share_correct(logits[published], test.labels[published]),
    )


def require_accuracy(accuracy: Accuracy, settings: Settings) -> None:
    """Fail unless the network is good enough to serve as an example."""
    if accuracy.full < settings.required_accuracy:
        raise ExampleError(
            f"The network classifies {accuracy.full:.2%} of the test set correctly, "
            f"less than the required {settings.required_accuracy:.0%}; no file was written."
        )


def require_same_logits(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> None:
    """Fail if the exported model computes something else than the trained network."""
    difference = float(np.abs(expected - actual).max())
    print(f"largest difference between a PyTorch and an ONNX Runtime logit: {difference:.1e}")
    if difference > tolerance:
        raise ExampleError(
            f"The exported model's logits differ from PyTorch's by up to {difference:.1e}, "
            f"more than the tolerated {tolerance:.0e}; no file was written."
        )


# --- Files ----------------------------------------------------------------------------------------


def export(network: nn.Module, opset: int) -> onnx.ModelProto:
    """Return the network as an ONNX model that keeps its structure and its parameter names."""
    network.eval()
    example = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter fuses the batch normalisations into the convolutions, so the
        # older one is used despite its deprecation.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            buffer,
            dynamo=False,
            opset_version=opset,
            # Its defaults, EVAL and folding, would fuse them too. What PRESERVE preserves is the
            # evaluation mode set above.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
        )
    return onnx.load_from_string(buffer.getvalue())


def describe(model: onnx.ModelProto, accuracy: Accuracy, settings: Settings) -> None:
    """Note in the model's metadata where it comes from and how good it is."""
    onnx.helper.set_model_props(
        model,
        {
            "architecture": "ResNet-8, widths " + "/".join(map(str, WIDTHS)),
            "dataset": "Fashion-MNIST",
            "input_scaling": "pixels / 255",
            "script": "scripts/train_example.py",
            "seed": str(settings.seed),
            "epochs": str(settings.epochs),
            "threads": str(settings.threads),
            "torch_version": torch.__version__,
            "accuracy_full_test_set": f"{accuracy.full:.4f}",
            f"accuracy_first_{settings.test_images}_test_images": f"{accuracy.published:.4f}",
        },
    )


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Check the model and write it, weights included, into one file."""
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
    report_file(path)


def save_split(split: Split, path: Path) -> None:
    """Write the images under the name of the model's input, and their classes beside them."""
    np.savez_compressed(path, input=split.images, label=split.labels)
    report_file(path)


def report_file(path: Path) -> None:
    """Print the name and size of a file just written."""
    print(f"wrote {path.name}: {path.stat().st_size:,} bytes")


# --- Command line ---------------------------------------------------------------------------------


def parse_arguments(arguments: list[str] | None = None) -> Settings:
    """Turn the command line into settings."""
    parser = argparse.ArgumentParser(
        description="Train the example network on Fashion-MNIST and write the example files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="folder of the gzipped IDX files"
    )
    parser.add_argument(
        "--epochs", type=positive_integer, default=Settings.epochs, help="passes over the images"
    )
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of all randomness")
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write the files to"
    )
    return Settings(**vars(parser.parse_args(arguments)))


def positive_integer(text: str) -> int:
    """Parse a command-line value that has to be at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def run(settings: Settings) -> None:
    """Train, check, export and write everything."""
    make_repeatable(settings)
    generator = np.random.default_rng(settings.seed)
    training, calibration = hold_out(
        load_split(settings.data, "train"), settings.calibration_images, generator
    )
    test = load_split(settings.data, "t10k")

    network = ResNet8().to(memory_format=torch.channels_last)
    started = time.monotonic()
    train(network, training, calibration, settings, generator)
    print(f"trained in {time.monotonic() - started:.0f} s")

    expected = torch_logits(network, test.images)
    accuracy = measure(expected, test, settings)
    print(f"PyTorch:      {accuracy}")
    require_accuracy(accuracy, settings)

    model = export(network, settings.opset)
    actual = onnx_logits(model, test.images, settings.threads)
    accuracy = measure(actual, test, settings)
    print(f"ONNX Runtime: {accuracy}")
    require_same_logits(expected, actual, settings.logit_tolerance)

    describe(model, accuracy, settings)
    settings.output.mkdir(parents=True, exist_ok=True)
    save_model(model, settings.output / "fashion_resnet8.onnx")
    save_split(calibration, settings.output / "fashion_calibration.npz")
    save_split(test.take(slice(settings.test_images)), settings.output / "fashion_test.npz")


def main() -> int:
    """Run the script; return its exit code."""
    try:
        run(parse_arguments())
    except ExampleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
