"""Build the agent with the cross compiler of its architecture."""

from __future__ import annotations

import difflib
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tvm_prune import toolchain
from tvm_prune.agent.runtime import LIBRARIES, fetch_runtime, versions
from tvm_prune.errors import BoardError
from tvm_prune.settings import default_cache

SOURCES = Path(__file__).parent / "source"
AGENT = "tvm-prune-agent"
"""Name of the program."""

_UNIT = f"{AGENT}.service"


@dataclass(frozen=True)
class Architecture:
    """A kind of processor that the agent is built for.

    Attributes:
        compiler: builds the agent.
        platforms: tags of the wheels that hold its libraries.
    """

    compiler: str
    platforms: tuple[str, ...]


ARCHITECTURES: Mapping[str, Architecture] = {
    "aarch64": Architecture(
        "aarch64-linux-gnu-g++",
        tuple(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)),
    ),
}
"""Architectures that TVM has wheels for, by name."""


def build_agent(architecture: str, output: Path, cache: Path | None = None) -> Path:
    """Build the agent and put everything that a board needs into a directory.

    Args:
        architecture: name from ``ARCHITECTURES``.
        output: where the program, its libraries and a systemd unit go.
        cache: keeps what was downloaded and built; the user's cache directory by default.

    Returns:
        Path of the program.

    Raises:
        BoardError: if the architecture is unknown, the compiler is missing, or the libraries
            cannot be downloaded.
    """
    built = cached_agent(architecture, cache)
    output.mkdir(parents=True, exist_ok=True)
    for path in [*built.parent.iterdir(), SOURCES / _UNIT]:
        shutil.copy2(path, output / path.name)
    return output / AGENT


def cached_agent(architecture: str, cache: Path | None = None) -> Path:
    """The agent in the cache, built where it is not there; see :func:`build_agent`."""
    if architecture not in ARCHITECTURES:
        close = difflib.get_close_matches(architecture, ARCHITECTURES, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise BoardError(
            f"The agent cannot be built for '{architecture}'; there are wheels of TVM's runtime "
            f"for: {', '.join(ARCHITECTURES)}.{hint} Elsewhere, as on 32-bit ARM, build TVM "
            f"{version('apache-tvm')} from its sources on the board and run "
            "`python -m tvm.exec.rpc_server` there."
        )
    root = (cache or default_cache()) / "agent"
    folder = root / f"{architecture}-{versions()}-{_source_key()}"
    if not folder.is_dir():
        _build(ARCHITECTURES[architecture], root / f"runtime-{architecture}-{versions()}", folder)
    return folder / AGENT


def _build(architecture: Architecture, runtime: Path, folder: Path) -> None:
    purpose = f"build {AGENT}"
    toolchain.require(architecture.compiler, purpose)
    fetch_runtime(architecture.platforms, runtime)
    libraries = runtime / "lib"
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        links = [f"-l:{name}" for name in LIBRARIES]
        toolchain.run(
            [architecture.compiler, "-std=c++17", "-O2", "-s", "-Wall", "-Wextra",
             "-isystem", str(runtime / "include"), *map(str, sorted(SOURCES.glob("*.cc"))),
             "-o", str(made / AGENT), f"-L{libraries}", "-Wl,--no-as-needed", *links,
             # The board's loader finds the libraries where the program is.
             "-Wl,-rpath,$ORIGIN", "-ldl", "-lpthread"],
            purpose,
        )  # fmt: skip
        for name in LIBRARIES:
            shutil.copy2(libraries / name, made / name)
        try:
            made.rename(folder)
        except OSError:  # somebody else was faster
            if not folder.is_dir():
                raise


def _source_key() -> str:
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.cc"), *SOURCES.glob("*.h")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
