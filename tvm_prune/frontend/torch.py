"""PyTorch modules become models, through `torch.export`; torch is imported when it is needed.

Parameters and buffers keep their names in the module's ``state_dict()``, their axes and their
shapes, so that a plan for the model applies to the module (:func:`tvm_prune.torch.prune_module`).
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_prune.errors import ModelError
from tvm_prune.frontend.functions import as_array, finished_model, with_named_weights
from tvm_prune.frontend.import_check import check_import
from tvm_prune.frontend.torch_program import (
    first_line,
    imported,
    output_names,
    prepared,
    quiet,
    weight_names,
)
from tvm_prune.model import Array, Model

logger = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]


def import_torch() -> Any:
    """The torch package.

    Raises:
        ModelError: if it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ModelError(
            "Reading PyTorch models needs torch, which is not installed; "
            "install it with: pip install 'tvm-prune[torch]'."
        ) from error


def load_torch_module(
    module: Any,
    shapes: Shapes | None = None,
    *,
    example: Any = None,
    keep_tied: bool = False,
) -> Model:
    """Import a ``torch.nn.Module`` as it is in eval mode; the module itself is not changed.

    Args:
        module: the module; its parameters have to be float32.
        shapes: shape of each argument of ``forward``, in place of `example`, where all of them
            are float32 tensors.
        example: arguments of ``forward``: a tensor, a tuple, or a mapping by name.
        keep_tied: a weight that several layers share stays one parameter.

    Raises:
        ModelError: if the module cannot be exported, or holds what cannot be imported.
    """
    torch = import_torch()
    arguments = _arguments(torch, module, shapes, example)
    args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, torch.Tensor.cpu, arguments)
    with quiet():
        try:
            frozen = copy.deepcopy(module).cpu().eval()
            program = torch.export.export(frozen, args, kwargs)
        except Exception as error:  # tracing runs the user's own code
            raise ModelError(
                f"torch.export cannot trace {type(module).__name__}: {first_line(error)} "
                "Run the module on the example yourself, and see that forward has no branches "
                "on values."
            ) from error
    return _model(torch, type(module).__name__, program, keep_tied)


def load_exported_program(
    program: Any, shapes: Shapes | None = None, *, keep_tied: bool = False, name: str = "model"
) -> Model:
    """Import a ``torch.export.ExportedProgram`` of a module in eval mode.

    Args:
        program: the program.
        shapes: shapes of its inputs, where the program leaves them dynamic.
        keep_tied: a weight that several layers share stays one parameter.
        name: the model's name.

    Raises:
        ModelError: if a dynamic shape is left, it was exported in training mode, or it holds what
            cannot be imported.
    """
    torch = import_torch()
    return _model(torch, name, _with_shapes(torch, program, shapes or {}), keep_tied)


def load_pt2(path: Path, shapes: Shapes | None = None, *, keep_tied: bool = False) -> Model:
    """Import a .pt2 file, which ``torch.export.save`` writes.

    Raises:
        ModelError: as :func:`load_exported_program`, or if the file is none.
    """
    torch = import_torch()
    if not path.is_file():
        raise ModelError(f"There is no file {path}; give the path of a .pt2 program.")
    with quiet():
        try:
            program = torch.export.load(path)
        except Exception as error:  # the reader raises whatever the content makes it trip over
            raise ModelError(
                f"{path} is not an exported program: {first_line(error)} "
                "Write one with torch.export.save(torch.export.export(module, example), path)."
            ) from error
    return load_exported_program(program, shapes, keep_tied=keep_tied, name=path.stem)


def _arguments(
    torch: Any, module: Any, shapes: Shapes | None, example: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments to trace the module with."""
    if (example is None) == (shapes is None):
        raise ModelError(
            "A torch.nn.Module needs either example inputs or their shapes; "
            "for example load(module, example=(torch.randn(1, 3, 224, 224),))."
        )
    if shapes is not None:
        names = list(inspect.signature(module.forward).parameters)
        unknown = sorted(set(shapes) - set(names))
        if unknown:
            raise ModelError(
                f"The module has no input '{unknown[0]}'; forward takes {', '.join(names)}."
            )
        generator = torch.Generator().manual_seed(0)
        return (), {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, Sequence) else (example,)), {}


def _with_shapes(torch: Any, program: Any, shapes: Shapes) -> Any:
    """The program at the given input shapes; a static one is left as it is."""
    inputs = {
        node.name: node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    }
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise ModelError(
            f"The program has no input '{unknown[0]}'; its inputs are {', '.join(inputs)}."
        )
    for name, value in inputs.items():
        shape = shapes.get(name, tuple(value.shape))
        if not all(isinstance(extent, int) for extent in shape):
            found = ", ".join(str(extent) for extent in value.shape)
            raise ModelError(
                f"Input '{name}' has the dynamic shape [{found}]; fix it, for example with "
                f"shapes={{'{name}': (1, 3, 224, 224)}} or --shape {name}:1,3,224,224."
            )
    if all(tuple(value.shape) == tuple(shapes.get(n, value.shape)) for n, value in inputs.items()):
        return program
    example = tuple(
        torch.zeros(tuple(shapes.get(name, value.shape)), dtype=value.dtype)
        for name, value in inputs.items()
    )
    with quiet():
        try:
            return torch.export.export(program.module(), example)
        except Exception as error:  # the program's own guards
            raise ModelError(
                f"The program cannot take the shapes {dict(shapes)}: {first_line(error)}"
            ) from error


def _model(torch: Any, name: str, program: Any, keep_tied: bool) -> Model:
    with quiet():
        functional = prepared(torch, program)
        module = imported(functional)
    weights = weight_names(functional)
    inputs = {input_name: input_name for input_name in functional.graph_signature.user_inputs}
    module["main"] = with_named_weights(module["main"], inputs, weights)
    values = {
        target: as_array(target, functional.state_dict[target]) for target in weights.values()
    }
    outputs = output_names(torch, program)
    model = finished_model(name, module, values, outputs, keep_tied=keep_tied)
    _check_numbers(torch, model, program)
    return model


def _check_numbers(torch: Any, model: Model, program: Any) -> None:
    """Compare the imported model with torch on the program's example."""
    arguments, keywords = program.example_inputs or ((), {})
    leaves = torch.utils._pytree.tree_leaves((arguments, keywords))
    if len(leaves) != len(model.inputs):
        logger.debug("the program holds no example inputs; its import was not compared")
        return
    with torch.no_grad(), quiet():
        outputs = torch.utils._pytree.tree_leaves(program.module()(*arguments, **keywords))
    inputs: dict[str, Array] = {
        spec.name: as_array(spec.name, leaf)
        for spec, leaf in zip(model.inputs, leaves, strict=True)
    }
    check_import(model, inputs, [as_array("output", output) for output in outputs], "PyTorch")
