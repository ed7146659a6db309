"""Quantized values as the numbers that they stand for, and back."""

from __future__ import annotations

from tvm_prune.to_onnx.rule import ConverterTable, OpExport

NARROW = ("int8", "uint8")


def quantize(export: OpExport) -> str:
    """QuantizeLinear to eight bits."""
    if export.result_dtype not in NARROW:
        raise export.unsupported(
            f"the dtype {export.result_dtype}", f"quantize to {' or '.join(NARROW)}"
        )
    scale, zero = _parameters(export, export.result_dtype)
    return export.emit("QuantizeLinear", export.input(), scale, zero, axis=export.axis())


def dequantize(export: OpExport) -> str:
    """DequantizeLinear of eight bits; wider integers are subtracted and multiplied."""
    if export.dtype() in NARROW:
        scale, zero = _parameters(export, export.dtype())
        value = export.emit("DequantizeLinear", export.input(), scale, zero, axis=export.axis())
    else:
        scale, zero = _parameters(
            export, "float32", trailing=len(export.shape()) - 1 - export.axis()
        )
        wide = export.cast(export.input(), export.dtype(), "float32")
        value = export.emit("Mul", export.emit("Sub", wide, zero), scale)
    return export.cast(value, "float32", export.result_dtype)


def _parameters(export: OpExport, zero_dtype: str, trailing: int = 0) -> list[str]:
    """Scale and zero point: scalars, or one for each position of the axis."""
    found = []
    for index, dtype in ((1, "float32"), (2, zero_dtype)):
        value = export.cast(export.input(index), export.dtype(index), dtype)
        extents = export.shape(index)
        if extents and set(extents) == {1}:
            value = export.reshape(value, [])
        elif extents and trailing:
            value = export.reshape(value, [*extents, *[1] * trailing])
        found.append(value)
    return found


QUANTIZATION: ConverterTable = {
    "relax.quantize": quantize,
    "relax.dequantize": dequantize,
}
