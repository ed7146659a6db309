"""The one format in which every benchmark stores its results."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_prune.machine import cpu_name

_FOLDER = Path(__file__).parent / "results"
_PACKAGES = (
    "apache-tvm", "apache-tvm-ffi", "numpy", "onnxruntime", "scipy", "torch", "torch-pruning",
    "xgboost",
)  # fmt: skip


def write_results(
    name: str,
    figures: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
    path: Path | None = None,
) -> Path:
    """Write ``benchmarks/results/NAME.json`` with date, versions and machine.

    Args:
        name: name of the benchmark's module.
        figures: the summary, flat, by snake_case name.
        rows: everything behind the figures, enough to recompute them; failures included.
        path: another file to write, for a run that is not worth keeping.

    Returns:
        The file written.
    """
    path = path or _FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "figures": dict(figures),
        "rows": list(rows),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def stored_rows(name: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Rows that an earlier run of a benchmark wrote; none where there was none."""
    path = path or _FOLDER / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def circumstances() -> dict[str, Any]:
    """When and where something is run: for rows of parts that are not run together."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Versions of the packages that results depend on, where they are installed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
