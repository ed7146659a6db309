"""Manifests: JSON files that name, with their hashes, the files that were written with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.errors import BundleError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class ManifestKind:
    """A kind of folder with a manifest.

    Attributes:
        name: of the manifest's file.
        version: of its format.
        folder: what the folder is called in sentences, with its article.
        writer: command that writes such a folder.
        advice: what to do about a damaged one.
    """

    name: str
    version: int
    folder: str
    writer: str
    advice: str


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hexadecimal SHA-256 of files below a folder, by their paths from there."""
    return {name: sha256(folder / name) for name in names}


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path, kind: ManifestKind, content: Mapping[str, Any]) -> None:
    """Write the manifest of a folder; it is what makes the folder valid, so it comes last."""
    text = json.dumps(content, indent=2) + "\n"
    (folder / kind.name).write_text(text, encoding="utf-8")


def read_manifest(
    folder: Path,
    kind: ManifestKind,
    check: Callable[[Mapping[str, Any]], object],
    required: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _manifest: (),
) -> dict[str, Any]:
    """Read the manifest of a folder and check it and the files that it names.

    Args:
        folder: the folder.
        kind: what it should be.
        check: reads what this version needs; its ``ValueError``, ``KeyError`` or ``TypeError``
            means that the manifest is damaged.
        required: files that there must be, whether the manifest names them or not.

    Raises:
        BundleError: if there is no manifest, or it or a file is damaged, missing or altered.
    """
    path = folder / kind.name
    if not path.is_file():
        raise BundleError(
            f"{folder} is not {kind.folder}: it has no {kind.name}. `{kind.writer}` writes one."
        )
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        files, version = dict(manifest["files"]), manifest["format"]
        if version == kind.version:
            check(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({error!r}); {kind.advice}.") from error
    if version != kind.version:
        raise BundleError(f"{path} has format {version}, but this version reads {kind.version}.")
    for name in {**dict.fromkeys(required(manifest)), **files}:
        _check_file(folder / name, files.get(name), kind)
    return manifest


def _check_file(path: Path, expected: str | None, kind: ManifestKind) -> None:
    if not path.is_file():
        raise BundleError(f"{path.parent} is incomplete: it lacks {path.name}; {kind.advice}.")
    if sha256(path) != expected:
        raise BundleError(
            f"{path} is not the file that was written with {kind.name} (its SHA-256 differs); "
            f"nothing was loaded. Restore the file, or {kind.advice}."
        )
