"""Prepares a program of ``torch.export`` for TVM's importer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tvm import IRModule

from tvm_prune.errors import ModelError
from tvm_prune.frontend.torch_ops import CONVERTERS, DECOMPOSED, RECURRENT

TRAINING_FLAGS: Mapping[str, int] = {
    "batch_norm.default": 5,
    "dropout.default": 2,
    "feature_dropout.default": 2,
    "alpha_dropout.default": 2,
}
"""ATen ops that behave otherwise in training, and the argument that says so."""


def prepared(torch: Any, program: Any) -> Any:
    """A program without mutation, of ops that have a translation, whose weights are parameters.

    Raises:
        ModelError: if it holds what cannot be imported.
    """
    _check_program(program)
    functional = program.run_decompositions(_decompositions(torch))
    functional = _weights_as_parameters(torch, functional)
    _check_operators(functional)
    return functional


def _decompositions(torch: Any) -> dict[Any, Any]:
    """Decompose what the importer does not know; what it knows is easier to prune as it is."""
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    known = {*ExportedProgramImporter().convert_map, *CONVERTERS} - DECOMPOSED
    table = torch.export.default_decompositions()
    return {op: rule for op, rule in table.items() if op.__name__ not in known}


def _check_program(program: Any) -> None:
    """What can be said of a program in the user's own terms, before it is decomposed."""
    for node in program.graph.nodes:
        op = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        if op in RECURRENT:
            raise ModelError(
                f"The model uses {op.partition('.')[0]} ({_where(node)}), whose channels cannot "
                "be pruned yet; load the part of the model without it."
            )
        flag = TRAINING_FLAGS.get(op)
        if flag is not None and len(node.args) > flag and node.args[flag] is True:
            raise ModelError(
                f"{op.partition('.')[0]} in {_where(node)} works as in training; export the module "
                "in eval mode, and its batch norms with running statistics."
            )


def _check_operators(program: Any) -> None:
    """What is left that nobody can translate."""
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    known = {*ExportedProgramImporter().convert_map, *CONVERTERS} - {"cond"}
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target.__name__ not in known:
            raise ModelError(
                f"The model uses {node.target.__name__} ({_where(node)}), which TVM cannot "
                "import; write that part with other operators, or cut it off the model."
            )
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT" and not hasattr(spec.arg, "name"):
            raise ModelError(f"The input {spec.arg} is no tensor; bind it before the export.")


def _where(node: Any) -> str:
    """The submodule that a node comes from, as the user wrote it."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"submodule '{path.removeprefix('L__self__.')}'" if path else f"node '{node.name}'"


def _weights_as_parameters(torch: Any, program: Any) -> Any:
    """The program with floating buffers and tensors as parameters.

    TVM binds buffers as constants and forgets their names.
    """
    signature = torch.export.graph_signature
    tensors = {**program.state_dict, **program.constants}
    specs: list[Any] = []
    weights: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for spec in program.graph_signature.input_specs:
        value: Any = tensors.get(spec.target)
        if _is_weight(torch, spec, value):
            if value.dtype != torch.float32:
                raise ModelError(
                    f"'{spec.target}' is {str(value.dtype).removeprefix('torch.')}, but only "
                    "float32 can be imported; convert the module with module.float() first."
                )
            weights[spec.target] = torch.nn.Parameter(value.detach(), requires_grad=False)
            spec = signature.InputSpec(signature.InputKind.PARAMETER, spec.arg, spec.target)
        elif spec.target in program.constants:
            constants[spec.target] = value
        elif spec.target is not None:
            weights[spec.target] = value
        specs.append(spec)
    return torch.export.ExportedProgram(
        root=program.graph_module,
        graph=program.graph,
        graph_signature=signature.ExportGraphSignature(specs, program.graph_signature.output_specs),
        state_dict=weights,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        constants=constants,  # one that no argument stands for would be bound to a wrong one
        verifiers=[program.verifier],
    )


def _is_weight(torch: Any, spec: Any, value: Any) -> bool:
    """Floating tensors are weights; a number that forward turns into a tensor is none."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    return bool(value.ndim > 0 or spec.kind.name != "CONSTANT_TENSOR")


def weight_names(program: Any) -> dict[str, str]:
    """Name in the state dict of each weight argument; a shared tensor has its first name."""
    tensors = {**program.constants, **program.state_dict}
    first: dict[tuple[int, ...], str] = {}
    for name, tensor in tensors.items():
        first.setdefault(_storage(tensor), name)
    return {
        spec.arg.name: first[_storage(tensors[spec.target])]
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "PARAMETER"
    }


def _storage(tensor: Any) -> tuple[int, ...]:
    """Equal for tensors that are one and the same."""
    return (tensor.data_ptr(), *tensor.shape, *tensor.stride())


def imported(program: Any) -> IRModule:
    """The Relax module of a prepared program, inputs first, then weights.

    Raises:
        ModelError: if TVM fails at it.
    """
    from tvm.relax.frontend.torch import from_exported_program

    try:
        module: IRModule = from_exported_program(
            program,
            keep_params_as_input=True,
            unwrap_unit_return_tuple=True,
            custom_convert_map=dict(CONVERTERS),
            run_ep_decomposition=False,
        )
    except Exception as error:  # the importer raises many types, each about the model
        raise ModelError(f"TVM cannot import this program: {first_line(error)}") from error
    return module


def output_names(torch: Any, program: Any) -> tuple[str, ...]:
    """Names from the structure that forward returns: keys, or numbers for tuples."""
    pytree = torch.utils._pytree
    spec = program.call_spec.out_spec
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    names = []
    for path, _ in pytree.tree_flatten_with_path(tree)[0]:
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        names.append("_".join(parts if parts and not parts[0].isdigit() else ["output", *parts]))
    return tuple(names)


@contextmanager
def quiet() -> Iterator[None]:
    """torch.export warns about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: Exception) -> str:
    """The first line of an exception's message as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__)[:300]
    return text if text.endswith(".") else f"{text}."
