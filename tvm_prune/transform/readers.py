"""What reads each variable of a function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import tvm_ffi
from tvm.ir import Var


def find_readers(function: Any) -> Mapping[Any, list[Any]]:
    """The expressions that read each variable, once for each time; no entry where there are none.

    The function's result is one of them.

    Args:
        function: of Relax, without branches.
    """
    readers: defaultdict[Any, list[Any]] = defaultdict(list)
    read = [binding.value for block in function.body.blocks for binding in block.bindings]
    for expression in [*read, function.body.body]:
        tvm_ffi.structural_walk(expression, (Var, lambda v, e=expression: readers[v].append(e)))
    return dict(readers)
