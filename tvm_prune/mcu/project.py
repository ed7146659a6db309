"""Folders with a C project, as :mod:`tvm_prune.export.c_project` writes them: what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.manifest import ManifestKind, file_hashes, read_manifest, write_manifest
from tvm_prune.model import TensorSpec

MANIFEST = "project.json"
FORMAT = 1
KIND = "c_project"
_KIND = ManifestKind(
    MANIFEST,
    FORMAT,
    "a C project",
    "tvm-prune compile MODEL --board BOARD -o DIR",
    "compile the model again",
)
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
    return Project(folder, read_manifest(folder, _KIND, _check))


def write_project_manifest(folder: Path, content: Mapping[str, Any], names: Iterable[str]) -> None:
    """Write the manifest of a C project, and the hashes of its files with it."""
    hashes = file_hashes(folder, names)
    write_manifest(folder, _KIND, {"format": FORMAT, "kind": KIND, **content, "files": hashes})


def _check(manifest: Mapping[str, Any]) -> None:
    project = Project(Path(), manifest)
    _ = project.inputs, project.outputs, project.kernels, project.board
