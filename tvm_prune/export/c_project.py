"""A model for a microcontroller as a folder that a cross compiler alone can build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_prune.board import Board
from tvm_prune.errors import ExportError
from tvm_prune.export import c_templates as templates
from tvm_prune.mcu import CModel
from tvm_prune.mcu.firmware import firmware_files
from tvm_prune.mcu.project import MANIFEST, write_project_manifest
from tvm_prune.model import TensorSpec

FIRMWARE = "firmware"


def write_c_project(directory: Path, model: CModel, board: Board) -> None:
    """Write a model as a C project: library, firmware that runs it, build files, instructions.

    ``project.json`` comes last, so an unfinished folder is never valid.

    Args:
        directory: created where it is missing; files of an older project are replaced.
        model: the compiled model.
        board: what it was compiled for.

    Raises:
        ExportError: if the model's weights or its arena are larger than the board's memory.
    """
    check_memory(model, board)
    (directory / FIRMWARE).mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    for old in ("kernels.o", "kernels.c"):
        (directory / old).unlink(missing_ok=True)
    files = {
        **model.files,
        **{name: text.encode() for name, text in _build_files(model, board).items()},
        **{f"{FIRMWARE}/{name}": content for name, content in firmware_files(board).items()},
    }
    for name, content in files.items():
        (directory / name).write_bytes(content)
    write_project_manifest(directory, _manifest(model, board), files)


def check_memory(model: CModel, board: Board) -> None:
    """Refuse a model whose weights or arena alone are larger than the board's memory.

    Raises:
        ExportError: says what is needed, what there is, and what would fit.
    """
    needs = (
        ("flash", "weights", model.footprint.weights, board.flash),
        ("RAM", "arena", model.footprint.arena, board.ram),
    )
    for memory, part, need, size in needs:
        if size is not None and need > size:
            raise ExportError(
                f"The {part} of '{model.name}' take {need:,} bytes, but '{board.name}' has "
                f"{size:,} bytes of {memory}: {need - size:,} too many. Prune the model to it "
                f"(`tvm-prune prune MODEL --board {board.name} --{memory.lower()} {size}`), or "
                "choose a larger board."
            )


def _build_files(model: CModel, board: Board) -> Mapping[str, str]:
    kernels = next(name for name in model.files if name.startswith("kernels."))
    values = {
        "name": model.name,
        "identifier": "".join(c if c.isalnum() else "_" for c in model.name),
        "board": board.name,
        "description": board.description,
        "compiler": board.compiler or "cc",
        "prefix": (board.compiler or "gcc").removesuffix("gcc"),
        "flags": " ".join(board.flags),
        "kernels": kernels,
        "kernel_object": "$(BUILD)/kernels.o" if kernels.endswith(".c") else kernels,
        "weights": f"{model.footprint.weights:,}",
        "arena": f"{model.footprint.arena:,}",
        "bound": f"{model.footprint.arena_lower_bound:,}",
        "how": "portable C" if model.code == "c" else "an object file for this processor",
        "tensors": "\n".join(
            [f"- input {i}: {_described(spec)}" for i, spec in enumerate(model.inputs)]
            + [f"- output {i}: {_described(spec)}" for i, spec in enumerate(model.outputs)]
        ),
    }
    return {
        "Makefile": templates.MAKEFILE.substitute(values),
        "CMakeLists.txt": templates.CMAKE.substitute(values),
        "toolchain.cmake": templates.TOOLCHAIN.substitute(values),
        "README.md": templates.README.substitute(values),
    }


def _manifest(model: CModel, board: Board) -> dict[str, Any]:
    return {
        "name": model.name,
        "board": board.name,
        "code": model.code,
        "inputs": [spec.to_json() for spec in model.inputs],
        "outputs": [spec.to_json() for spec in model.outputs],
        "kernels": [{"index": i, "name": name} for i, name in enumerate(model.kernel_names)],
        "footprint": vars(model.footprint),
    }


def _described(spec: TensorSpec) -> str:
    return f"`{spec.name}`, {spec.dtype} {list(spec.shape)}"
