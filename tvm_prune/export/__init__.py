"""Writes what is deployed."""

from __future__ import annotations

from tvm_prune.export.bundle import Bundle, read_bundle, write_bundle
from tvm_prune.export.shared_library import export_shared_library

__all__ = ["Bundle", "export_shared_library", "read_bundle", "write_bundle"]
