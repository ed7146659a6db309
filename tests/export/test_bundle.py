"""A bundle is what was written, whole and unaltered, or it is refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tvm_prune import manifest as manifest_module
from tvm_prune.errors import BundleError
from tvm_prune.export import Bundle, read_bundle, write_bundle
from tvm_prune.export.bundle import FORMAT, LIBRARY, MANIFEST, ONNX, PLAN, REPORT
from tvm_prune.manifest import sha256
from tvm_prune.model import TensorSpec
from tvm_prune.plan import GroupWidth, PruningPlan

PRUNING = PruningPlan({"w": {0: (0, 2)}}, {"w": (4, 3)}, (GroupWidth("w", 4, 2),))
DESCRIPTION: dict[str, Any] = {
    "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1, 10], "dtype": "float32"}],
    "note": "µs",
}
FILES = (LIBRARY, PLAN, REPORT)


def write(directory: Path, library: bytes = b"machine code") -> Bundle:
    return write_bundle(directory, library, PRUNING, "the report: 5 µs\n", DESCRIPTION)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "deep" / "out")


def edit_manifest(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle.directory / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_what_is_written_is_read(bundle: Bundle) -> None:
    read = read_bundle(bundle.directory)
    assert read == bundle
    assert read.library.read_bytes() == b"machine code"
    assert PruningPlan.load(read.directory / PLAN) == PRUNING
    assert (read.directory / REPORT).read_text(encoding="utf-8") == "the report: 5 µs\n"
    assert read.inputs == (TensorSpec("x", (1, 3, 8, 8), "float32"),)
    assert read.outputs == (TensorSpec("y", (1, 10), "float32"),)
    assert read.manifest["note"] == "µs"
    assert read.manifest["format"] == FORMAT


def test_a_bundle_with_an_onnx_model_guards_it_like_the_rest(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, b"code", PRUNING, "report", DESCRIPTION, b"onnx model")
    assert (read_bundle(tmp_path).directory / ONNX).read_bytes() == b"onnx model"
    assert bundle.manifest["files"][ONNX] == sha256(tmp_path / ONNX)
    (tmp_path / ONNX).write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"model\.onnx is not the file"):
        read_bundle(tmp_path)


def test_a_bundle_without_an_onnx_model_leaves_none_of_an_older_one(tmp_path: Path) -> None:
    write_bundle(tmp_path, b"code", PRUNING, "report", DESCRIPTION, b"onnx model")
    write(tmp_path)
    assert not (tmp_path / ONNX).exists()
    read_bundle(tmp_path)


def test_the_manifest_holds_the_hash_of_every_other_file(bundle: Bundle) -> None:
    names = {path.name for path in bundle.directory.iterdir()} - {MANIFEST}
    assert names == set(FILES)
    assert bundle.manifest["files"] == {name: sha256(bundle.directory / name) for name in names}


def test_a_hash_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file_is_refused(name: str, bundle: Bundle) -> None:
    path = bundle.directory / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf"{name}.*nothing was loaded"):
        read_bundle(bundle.directory)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name: str, bundle: Bundle) -> None:
    (bundle.directory / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        read_bundle(bundle.directory)


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_a_hash_is_refused(name: str, bundle: Bundle) -> None:
    edit_manifest(bundle, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle.directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "{}", '{"files": 5, "format": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(text: str, bundle: Bundle) -> None:
    (bundle.directory / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_bundle(bundle.directory)


@pytest.mark.parametrize("key", ["inputs", "outputs"])
@pytest.mark.parametrize("value", [None, [{"name": "x"}], 5])
def test_a_manifest_that_does_not_say_what_the_model_takes_and_gives_is_refused(
    key: str, value: object, bundle: Bundle
) -> None:
    edit_manifest(bundle, lambda manifest: manifest.update({key: value}))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_bundle(bundle.directory)


def test_another_format_is_refused_with_both_numbers(bundle: Bundle) -> None:
    edit_manifest(bundle, lambda manifest: manifest.update(format=99))
    with pytest.raises(BundleError, match=rf"99.*{FORMAT}"):
        read_bundle(bundle.directory)


@pytest.mark.parametrize("name", ["", "empty", "missing"])
def test_another_directory_is_not_a_bundle(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(tmp_path / name)


@pytest.mark.parametrize("name", [PLAN, REPORT])
def test_an_unfinished_bundle_is_never_valid(
    name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it would have replaced an older, valid one."""
    writes = Path.write_text

    def disk_full(path: Path, *arguments: Any, **options: Any) -> int:
        if path.name == name:
            raise OSError(28, "No space left on device")
        return writes(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write(bundle.directory, b"new code")
    monkeypatch.undo()
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(bundle.directory)


def test_the_manifest_is_written_when_everything_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def watching(path: Path) -> str:
        seen.append({entry.name for entry in path.parent.iterdir()})
        return sha256(path)

    monkeypatch.setattr(manifest_module, "sha256", watching)
    write(tmp_path / "out")
    assert seen == [set(FILES)] * len(FILES)


def test_a_newer_bundle_replaces_the_older_one(bundle: Bundle) -> None:
    write(bundle.directory, b"new code")
    assert read_bundle(bundle.directory).library.read_bytes() == b"new code"


def test_a_bundle_may_be_moved(bundle: Bundle, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(bundle.directory, moved)
    assert read_bundle(moved).library == moved / LIBRARY
