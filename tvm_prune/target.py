"""TVM targets as board files give them, and what they leave to be filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tvm
from tvm.target import codegen

from tvm_prune.errors import BoardError
from tvm_prune.machine import core_count

_OF_A_TAG = ("kind", "mtriple", "mcpu", "mattr", "mfloat-abi", "num-cores")
"""What a board's target takes from TVM's tag; the rest is derived."""


def host_cpu() -> str:
    """LLVM's name of this machine's CPU."""
    return str(codegen.llvm_get_system_cpu())


def complete_target(target: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a target asks for: what TVM's tag says, or LLVM about this machine.

    Args:
        target: as a board file gives it, perhaps with ``tag`` or ``detect``.

    Raises:
        BoardError: if TVM does not know the tag.
    """
    complete = {key: value for key, value in target.items() if key not in ("detect", "tag")}
    if "tag" in target:
        complete = _tagged(str(target["tag"])) | complete
    if target.get("detect"):
        complete.setdefault("mtriple", str(codegen.llvm_get_system_triple()))
        complete.setdefault("mcpu", host_cpu())
        complete.setdefault("num-cores", core_count())
    return complete


def _tagged(tag: str) -> dict[str, Any]:
    """What one of TVM's target tags stands for."""
    try:
        known = json.loads(str(tvm.target.Target(tag)))
    except (ValueError, TypeError, RuntimeError) as error:
        raise BoardError(
            f"TVM has no target tag '{tag}'; describe the target in the [target] table instead."
        ) from error
    return {key: known[key] for key in _OF_A_TAG if key in known}
