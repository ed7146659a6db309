"""What the user wants left alone: parameters and layers, by name or glob."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from tvm_prune.errors import PruneError


def matching_parameters(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    """The parameters that some pattern names.

    A pattern is a parameter's name, or the name of the layer it belongs to (what stands before a
    dot or slash), with ``*``, ``?`` and ``[...]`` as in file names. Every use of a weight that
    several layers share goes by the name of that weight.

    Raises:
        PruneError: if a pattern matches nothing.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = {name for name in names if _matches(name, pattern)}
        if not matches:
            raise PruneError(_no_match(pattern, names))
        found |= matches
    return found


def _matches(name: str, pattern: str) -> bool:
    name = name.partition("#")[0]
    forms = (pattern, f"{pattern}.*", f"{pattern}/*")
    return any(fnmatchcase(name, form) for form in forms)


def _no_match(pattern: str, names: Collection[str]) -> str:
    layers = {name.rpartition(".")[0] for name in names} - {""}
    close = difflib.get_close_matches(pattern, [*names, *layers], n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"No parameter or layer is named '{pattern}'{hint}"
