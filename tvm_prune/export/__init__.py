"""Writes what is deployed."""

from __future__ import annotations

from tvm_prune.export.bundle import Bundle, files_below, read_bundle, write_bundle
from tvm_prune.export.c_project import write_c_project
from tvm_prune.export.shared_library import export_shared_library

__all__ = [
    "Bundle",
    "export_shared_library",
    "files_below",
    "read_bundle",
    "write_bundle",
    "write_c_project",
]
