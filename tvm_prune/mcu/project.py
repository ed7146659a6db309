"""Folders with a C project, as :mod:`tvm_prune.export.c_project` writes them: what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.errors import BundleError
from tvm_prune.model import TensorSpec

MANIFEST = "project.json"
FORMAT = 1
KIND = "c_project"
MODEL_SUFFIXES = (".h", ".c", ".S", ".o", ".bin")


@dataclass(frozen=True)
class Project:
    """A C project.

    Attributes:
        folder: where it lies.
        manifest: what its ``project.json`` says.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def board(self) -> str:
        """The board that it was made for, as given to ``--board``."""
        return str(self.manifest["board"])

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs, in order."""
        return tuple(map(TensorSpec.from_json, self.manifest["inputs"]))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, in order."""
        return tuple(map(TensorSpec.from_json, self.manifest["outputs"]))

    @property
    def kernels(self) -> tuple[str, ...]:
        """Name of every kernel call, in order."""
        return tuple(entry["name"] for entry in self.manifest["kernels"])

    def model_files(self) -> dict[str, bytes]:
        """Content of the files that the model consists of, without the firmware around it."""
        return {
            path.name: path.read_bytes()
            for path in sorted(self.folder.iterdir())
            if path.is_file() and path.suffix in MODEL_SUFFIXES
        }


def is_project(folder: Path) -> bool:
    """Whether a folder holds a C project."""
    return (folder / MANIFEST).is_file()


def read_project(folder: Path) -> Project:
    """Read and check a C project; nothing in it is built or run.

    Raises:
        BundleError: if it is none, or a file is missing or was altered.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is no C project: it has no {MANIFEST}. "
            "`tvm-prune compile MODEL --board BOARD -o DIR` writes one."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files, version = dict(manifest["files"]), manifest["format"]
        project = Project(folder, manifest)
        _ = project.inputs, project.outputs, project.kernels, project.board
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); compile the model again.") from error
    if version != FORMAT:
        raise BundleError(f"{path} has format {version}, but this version reads {FORMAT}.")
    for name, expected in files.items():
        _check_file(folder / name, expected)
    return project


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BundleError(f"The C project lacks {path.name}; compile the model again.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise BundleError(
            f"{path} is not the file that was written with {MANIFEST} (its SHA-256 differs); "
            "compile the model again, or restore the file."
        )
