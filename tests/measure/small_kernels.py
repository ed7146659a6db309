"""Kernels of one statement, most of which go wrong."""

from __future__ import annotations

import tvm

MODULE = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(result: T.Buffer((4,), "int32")):
        with T.sblock("root"):
            {}
"""
FINE = "result[0] = result[1] + 1"
ENDLESS = "while result[0] < 2:\n                result[0] = 0"
SLEEPS = 'T.evaluate(T.call_extern("int32", "usleep", 20000))'
ABORTS = 'T.evaluate(T.call_extern("int32", "abort"))'
UNDEFINED = 'result[0] = T.call_extern("int32", "nobody_defines_this")'
DOES_NOT_COMPILE = 'result[0] = T.call_llvm_intrin("int32", "llvm.sqrt", T.int32(0))'


def module(statement: str) -> tvm.IRModule:
    return tvm.script.from_source(MODULE.format(statement))
