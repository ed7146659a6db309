"""Portable C from what TVM's C generator writes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import Max, Min, PrimFunc

_HELPERS = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t"}
"""C type of each dtype that has helpers of its own for the smaller and the larger of two."""

_PRELUDE = """\
/* Kernels of the model: plain C99 without state, memory is the caller's. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

"""

_INCLUDES = re.compile(r"^(?:#include .*|#define TVM_EXPORTS|void\* __tvm_ffi__.*)\n", re.MULTILINE)
_LINKAGE = re.compile(r'^#ifdef __cplusplus\nextern "C"\n#endif\n', re.MULTILINE)
_DECLARATION = re.compile(r"^TVM_DLL .*\);\n", re.MULTILINE)
_COMMENT = re.compile(r"^// tvm target: .*\n", re.MULTILINE)
_FUNCTION = re.compile(r"^void (\w+)\(.*$", re.MULTILINE)
_POINTER = re.compile(r"\b(\w+)\* (\w+_pointer)\b")


def without_min_max(module: tvm.IRModule) -> tvm.IRModule:
    """Replace minimum and maximum by calls of helper functions.

    TVM's C generator names their operands once and takes equal text for an equal value, even when
    memory has changed in between, which makes reductions wrong.
    """
    return tvm.IRModule(
        {
            variable.name_hint: PrimFunc(
                function.params,
                tvm_ffi.structural_map(function.body, ((Max, _max), (Min, _min))),
                ret_type=function.ret_type,
                attrs=function.attrs,
            )
            for variable, function in module.functions_items()
        }
    )


def c_source(generated: str, separate: Collection[str]) -> str:
    """Readable C without TVM's headers.

    Args:
        generated: text from ``target.build.c``.
        separate: functions whose tensors never overlap, which ``restrict`` tells the compiler.
    """
    text = generated
    for pattern in (_COMMENT, _INCLUDES, _LINKAGE, _DECLARATION):
        text = pattern.sub("", text)
    text = _FUNCTION.sub(
        lambda line: _restricted(line.group()) if line.group(1) in separate else line.group(),
        text.replace("TVM_DLL ", ""),
    )
    return _PRELUDE + _helpers() + text


def _restricted(line: str) -> str:
    return _POINTER.sub(r"\1 *restrict \2", line)


def _helpers() -> str:
    lines = []
    for dtype, c_type in _HELPERS.items():
        for name, comparison in (("min", "<"), ("max", ">")):
            lines.append(
                f"static inline {c_type} {name}_{dtype}({c_type} a, {c_type} b) "
                f"{{ return a {comparison} b ? a : b; }}\n"
            )
    return "".join(lines)


def _max(expression: Any) -> Any:
    return _helper("max", expression)


def _min(expression: Any) -> Any:
    return _helper("min", expression)


def _helper(name: str, expression: Any) -> Any:
    dtype = str(expression.ty)
    if dtype not in _HELPERS:
        return expression
    return tirx.call_extern(dtype, f"{name}_{dtype}", expression.a, expression.b)
