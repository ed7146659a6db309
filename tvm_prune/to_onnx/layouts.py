"""Axis orders: ONNX puts channels first, Relax says where they are."""

from __future__ import annotations

from tvm_prune.to_onnx.rule import OpExport

SPATIAL = "DHW"


def channels_first(layout: str) -> str:
    """The order that ONNX wants for data or kernels with the axes of `layout`."""
    leading = "NC" if "N" in layout else "OI"
    return leading + "".join(axis for axis in SPATIAL if axis in layout)


def reordered(export: OpExport, value: str, layout: str, wanted: str) -> str:
    """Transpose a tensor from one layout to another.

    Raises:
        ExportError: if the layout is packed, such as NCHW4c.
    """
    if len(set(layout)) != len(wanted) or set(layout) != set(wanted):
        raise export.unsupported(
            f"the layout {layout}", f"use a permutation of {wanted} in the model"
        )
    return export.transpose(value, [layout.index(axis) for axis in wanted])
