"""Whatever is wrong with a PyTorch model, the message is one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tvm_prune
from tvm_prune.errors import ModelError


def message(source: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        tvm_prune.load(source, *arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


LINEAR = nn.Linear(4, 4)


def test_a_module_without_inputs() -> None:
    assert "needs either example inputs or their shapes" in message(LINEAR)


def test_a_module_with_both() -> None:
    text = message(LINEAR, {"input": (1, 4)}, example=torch.ones(1, 4))
    assert "needs either example inputs or their shapes" in text


def test_an_unknown_input() -> None:
    assert "no input 'x'; forward takes input" in message(LINEAR, {"x": (1, 4)})


def test_an_example_that_does_not_fit() -> None:
    text = message(LINEAR, example=torch.ones(1, 5))
    assert "torch.export cannot trace Linear" in text


def test_a_branch_on_values() -> None:
    class Branch(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    assert "no branches on values" in message(Branch(), example=torch.ones(2))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_is_named(kind: Any) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = kind(4, 6, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.memory(x)[0]

    text = message(Recurrent(), example=torch.ones(1, 3, 4))
    assert f"uses {kind.__name__.lower()} (submodule 'memory')" in text


def test_an_unknown_operator_is_named() -> None:
    class Fourier(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.fft.rfft(x).abs()

    text = message(nn.Sequential(Fourier()), example=torch.ones(2, 8))
    assert "uses _fft_r2c.default (submodule '0'), which TVM cannot import" in text


def test_half_precision() -> None:
    module = nn.Linear(4, 4).to(torch.bfloat16)
    text = message(module, example=torch.ones(1, 4, dtype=torch.bfloat16))
    assert "'weight' is bfloat16" in text
    assert "module.float()" in text


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout(0.5)], ids=["norm", "dropout"])
def test_a_program_in_training_mode(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(4, 4), layer).train()
    program = torch.export.export(module, (torch.ones(2, 4),))
    text = message(program)
    assert "in submodule '1' works as in training" in text
    assert "in eval mode" in text


def test_a_missing_program(tmp_path: Path) -> None:
    assert "There is no file" in message(tmp_path / "none.pt2")


@pytest.mark.parametrize("content", [b"", b"not a program", b"PK\x03\x04" + bytes(60)])
def test_a_file_that_is_no_program(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    assert f"{path} is not an exported program" in message(path)


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    torch.save(LINEAR.state_dict(), tmp_path / "model.pt")
    assert "checkpoint holds no network: load(module, example=" in message(tmp_path / "model.pt")


@pytest.mark.parametrize("source", [3, None, {"weight": 1}, LINEAR.state_dict()])
def test_another_object(source: Any) -> None:
    text = message(source)
    assert f"type {type(source).__name__} cannot be loaded" in text
    assert ".onnx, .tflite, .pt2" in text
    assert "torch.nn.Module" in text


def test_an_option_of_another_front_end() -> None:
    assert "'parameters' has no meaning" in message(LINEAR, example=torch.ones(1, 4), parameters={})


def test_without_torch_the_message_has_the_command(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')")
    (tmp_path / "model.pt2").write_bytes(b"")
    code = (
        "import tvm_prune\n"
        "try:\n    tvm_prune.load('model.pt2')\n"
        "except tvm_prune.errors.ModelError as error:\n    print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(tvm_prune.__file__).parent.parent}"},
    )  # fmt: skip
    assert "pip install 'tvm-prune[torch]'" in result.stdout
