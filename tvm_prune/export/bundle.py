"""Bundles: the output directory, and its manifest that is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.manifest import ManifestKind, file_hashes, read_manifest, write_manifest
from tvm_prune.model import TensorSpec
from tvm_prune.plan import PruningPlan

FORMAT = 1
LIBRARY = "model.so"
FIRMWARE = "firmware.elf"
PLAN = "plan.json"
MANIFEST = "manifest.json"
REPORT = "report.txt"
ONNX = "model.onnx"
_KIND = ManifestKind(
    MANIFEST, FORMAT, "a bundle", "tvm-prune prune MODEL ... -o DIR", "prune the model again"
)


@dataclass(frozen=True)
class Bundle:
    """A checked output directory.

    Attributes:
        directory: where it lies.
        manifest: what its manifest says.
    """

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def library(self) -> Path:
        """The compiled model: a shared library, or firmware."""
        firmware = self.directory / FIRMWARE
        return firmware if firmware.is_file() else self.directory / LIBRARY

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs, in order."""
        return tuple(map(TensorSpec.from_json, self.manifest["inputs"]))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, in order."""
        return tuple(map(TensorSpec.from_json, self.manifest["outputs"]))


def write_bundle(
    directory: Path,
    library: bytes,
    plan: PruningPlan,
    report: str,
    manifest: Mapping[str, Any],
    onnx_model: bytes | None = None,
    project: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write an output directory; the manifest comes last, so an unfinished one is never valid.

    Args:
        directory: created where it is missing; files of an older bundle are replaced.
        library: the compiled model.
        plan: the pruning plan.
        report: text for people.
        manifest: what to record besides the files' hashes.
        onnx_model: the pruned model as ONNX, where ONNX can express it.
        project: files of the C project that `library` was built from, where it is firmware.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    for name, content in (project or {}).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    compiled, other = (FIRMWARE, LIBRARY) if project else (LIBRARY, FIRMWARE)
    (directory / other).unlink(missing_ok=True)
    (directory / compiled).write_bytes(library)
    plan.save(directory / PLAN)
    (directory / REPORT).write_text(report, encoding="utf-8")
    (directory / ONNX).unlink(missing_ok=True)
    if onnx_model is not None:
        (directory / ONNX).write_bytes(onnx_model)
    names = [compiled, PLAN, REPORT] + ([ONNX] if onnx_model is not None else [])
    complete = {"format": FORMAT, **manifest, "files": file_hashes(directory, names)}
    write_manifest(directory, _KIND, complete)
    return Bundle(directory, complete)


def read_bundle(directory: Path) -> Bundle:
    """Read and check an output directory; nothing in it is loaded or run.

    Raises:
        BundleError: if it is no bundle, or a file is missing or was altered.
    """
    return Bundle(directory, read_manifest(directory, _KIND, _check, _required))


def _check(manifest: Mapping[str, Any]) -> None:
    for entry in manifest["inputs"] + manifest["outputs"]:
        TensorSpec.from_json(entry)


def _required(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    return FIRMWARE if FIRMWARE in manifest["files"] else LIBRARY, PLAN, REPORT


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, by its path from there; none where it is missing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
