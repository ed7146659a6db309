"""The main job on the example network, as a user runs it: once with an empty cache, once again."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results

_EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> None:
    """Run the demo cold and warm; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", default="0.5x")
    latency = parser.parse_args().latency
    with tempfile.TemporaryDirectory() as folder:
        rows = [_run(name, latency, Path(folder)) for name in ("cold", "warm")]
    figures = _figures(rows)
    write_results("demo", figures, rows)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def _run(name: str, latency: str, folder: Path) -> dict[str, Any]:
    """One run of the command in a process of its own, its JSON result and its wall time."""
    command = [
        *(sys.executable, "-m", "tvm_prune", "prune", str(_EXAMPLES / "fashion_resnet8.onnx")),
        *("--board", "host", "--latency", latency, "--json"),
        *("--calibration", str(_EXAMPLES / "fashion_calibration.npz")),
        *("--eval", str(_EXAMPLES / "fashion_test.npz")),
        *("--cache", str(folder / "cache"), "-o", str(folder / name)),
    ]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    return {"run": name, "seconds": seconds, "result": json.loads(done.stdout)}


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    cold, warm = rows
    result = cold["result"]
    latency, accuracy = result["latency"], result["accuracy"]
    measured = latency["pruned"]["median"]
    return {
        "latency_ratio": latency["ratio"],
        "dense_milliseconds": latency["dense"]["median"] * 1e3,
        "pruned_milliseconds": measured * 1e3,
        "accuracy_dense": accuracy["dense"],
        "accuracy_pruned": accuracy["pruned"],
        "accuracy_drop_points": (accuracy["dense"] - accuracy["pruned"]) * 100,
        "cold_seconds": cold["seconds"],
        "warm_seconds": warm["seconds"],
        "prediction_error_percent": abs(latency["predicted"] / measured - 1) * 100,
        "max_relative_error": result["verification"]["max_relative_error"],
        "warm_latency_ratio": warm["result"]["latency"]["ratio"],
        "warm_trials": warm["result"]["tuning"]["trials"],
    }


if __name__ == "__main__":
    main()
