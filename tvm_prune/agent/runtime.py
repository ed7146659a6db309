"""TVM's runtime libraries for other machines: they come with TVM's own wheels."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tvm_prune.errors import BoardError

LIBRARIES = ("libtvm_ffi.so", "libtvm_runtime.so", "libtvm_runtime_extra.so")
"""What a board needs; the compiler, a hundred times as large, stays here."""

_WHEELS: Mapping[str, Sequence[str]] = {
    "apache-tvm": ("tvm/lib/libtvm_runtime.so", "tvm/lib/libtvm_runtime_extra.so"),
    "apache-tvm-ffi": ("tvm_ffi/lib/libtvm_ffi.so", "tvm_ffi/include/"),
}
"""Files and folders that are taken from the wheel of each distribution."""


def versions() -> str:
    """The installed versions, which the board's libraries have to be of."""
    return "-".join(version(name) for name in _WHEELS)


def fetch_runtime(platforms: Sequence[str], folder: Path) -> Path:
    """Download the libraries for a platform, and the headers to build against them, once.

    Args:
        platforms: tags of the wheels that may be used.
        folder: where they are kept; it is complete as soon as it exists.

    Returns:
        The folder, which holds ``lib`` and ``include``.

    Raises:
        BoardError: if they cannot be downloaded.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        wheels, unpacked = Path(temporary) / "wheels", Path(temporary) / "runtime"
        _download(platforms, wheels)
        for wheel in wheels.glob("*.whl"):
            _unpack(wheel, unpacked)
        lacking = [name for name in LIBRARIES if not (unpacked / "lib" / name).is_file()]
        if lacking:
            raise BoardError(f"The wheels for {platforms[0]} lack {', '.join(lacking)}.")
        try:
            unpacked.rename(folder)
        except OSError:  # somebody else was faster
            if not folder.is_dir():
                raise
    return folder


def _download(platforms: Sequence[str], folder: Path) -> None:
    wanted = [f"{name}=={version(name)}" for name in _WHEELS]
    tags = [argument for tag in platforms for argument in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", *tags]
    done = subprocess.run(
        [*command, "--dest", str(folder), *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BoardError(
            f"Cannot download TVM's runtime for {platforms[0]} ({reason}); "
            f"`{' '.join(['pip', *command[3:5], *wanted])}` has to work, once."
        )


def _unpack(wheel: Path, folder: Path) -> None:
    """Take the libraries to ``lib`` and the headers to ``include``."""
    wanted = tuple(name for names in _WHEELS.values() for name in names)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("/") or not name.startswith(wanted):
                continue
            target = folder.joinpath(*Path(name).parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
