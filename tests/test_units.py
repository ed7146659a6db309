"""Costs in words."""

from __future__ import annotations

from tvm_prune.units import cost_text, kernel_cost_text


def test_seconds_are_told_in_milliseconds_and_anything_else_with_its_unit() -> None:
    assert cost_text(0.0012344, "seconds") == "1.234 ms"
    assert cost_text(12345678.0, "instructions") == "12,345,678 instructions"
    assert kernel_cost_text(0.000123, "seconds") == "123 us"
    assert kernel_cost_text(4321.0, "instructions") == "4,321 instructions"
