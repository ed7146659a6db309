"""What zeros among the weights bring, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_FASTER = (
    "Zeros are multiplied as slowly as anything else: they shrink the compressed model, not its "
    "latency. Prune channels (`tvm-prune prune`) for speed."
)


def sparsity_text(result: Mapping[str, Any]) -> str:
    """The result of unstructured pruning for people.

    Args:
        result: as ``SparseResult.to_json`` gives it.
    """
    sizes, latency, zeros = result["compressed_bytes"], result["latency"], result["sparsity"]
    dense, pruned = latency["dense"]["median"], latency["pruned"]["median"]
    threshold = result["threshold"]
    lines = [
        f"{result['model']} on {result['board']}, weights below the {threshold['kind']} threshold "
        f"{threshold['value']:g} set to zero",
        f"  weights that are zero:    {zeros['dense']:8.2%} -> {zeros['pruned']:8.2%}",
        f"  compressed size (LZMA):   {sizes['dense']:,} -> {sizes['pruned']:,} bytes "
        f"({sizes['pruned'] / sizes['dense']:.3f}x)",
        f"  latency ({latency['unit']}):        {dense:.4g} -> {pruned:.4g} "
        f"({pruned / dense:.3f}x, spread "
        f"{latency['dense']['spread']:.1%} and {latency['pruned']['spread']:.1%})",
    ]
    if result["accuracy"] is not None:
        before, after = result["accuracy"]["dense"], result["accuracy"]["pruned"]
        lines.append(f"  accuracy:                 {before:8.2%} -> {after:8.2%}")
    return "\n".join([*lines, NO_FASTER])
