"""The C text around the kernels: ``model.h``, ``model.c`` and what includes the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_prune.mcu.layout import Layout
from tvm_prune.mcu.program import Argument, Buffer, Call, Program
from tvm_prune.mcu.unpack import TENSOR_ALIGNMENT, Pointer, Signature
from tvm_prune.model import TensorSpec

C_TYPES: Mapping[str, str] = {
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""C type of each dtype; others are handed over as bytes."""

_HEADER = """\
/* The model '{name}', compiled for this board. Static memory only: no heap, no runtime.
 *
{tensors}
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_NAME "{name}"
#define MODEL_INPUTS {inputs}u
#define MODEL_OUTPUTS {outputs}u
#define MODEL_KERNELS {kernels}u /* kernel calls of one model_run */
#define MODEL_ARENA_BYTES {arena}u /* RAM */
#define MODEL_WEIGHTS_BYTES {weights}u /* flash */

/* Where to write an input before every model_run: its memory is used again while the model runs. */
void *model_input(uint32_t index);
uint32_t model_input_bytes(uint32_t index);

/* Computes the outputs from the inputs. */
void model_run(void);

/* Where an output lies, until inputs are written again. */
const void *model_output(uint32_t index);
uint32_t model_output_bytes(uint32_t index);

/* Name of a kernel call, 0 to MODEL_KERNELS - 1. */
const char *model_kernel_name(uint32_t index);

#ifdef MODEL_PROFILE
/* Yours to define: called after each kernel call. */
void model_kernel_done(uint32_t index);
#endif

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
#include "model.h"

#include <stdbool.h>
#include <stddef.h>

/* A linker script may place arena and weights where it likes. */
static uint8_t arena[MODEL_ARENA_BYTES]
    __attribute__((section(".bss.model_arena"), aligned({alignment})));
extern const uint8_t model_weights[];

#define ARENA(type, offset) ((type *)(void *)(arena + (offset)))
#define WEIGHTS(type, offset) ((type *)(uintptr_t)(model_weights + (offset)))

{prototypes}

#ifdef MODEL_PROFILE
#define DONE(index) model_kernel_done(index)
#else
#define DONE(index) ((void)0)
#endif

void model_run(void) {{
{calls}
}}

void *model_input(uint32_t index) {{
  switch (index) {{
{inputs}
    default: return NULL;
  }}
}}

uint32_t model_input_bytes(uint32_t index) {{
  switch (index) {{
{input_bytes}
    default: return 0u;
  }}
}}

const void *model_output(uint32_t index) {{
  switch (index) {{
{outputs}
    default: return NULL;
  }}
}}

uint32_t model_output_bytes(uint32_t index) {{
  switch (index) {{
{output_bytes}
    default: return 0u;
  }}
}}

const char *model_kernel_name(uint32_t index) {{
  switch (index) {{
{names}
    default: return "";
  }}
}}
"""

_WEIGHTS = """\
/* The weights, as they lie in weights.bin. */
    .section .rodata.model_weights, "a", %progbits
    .balign {alignment}
    .global model_weights
    .type model_weights, %object
model_weights:
    .incbin "weights.bin"
    .size model_weights, . - model_weights
"""


def header(
    name: str,
    program: Program,
    layout: Layout,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> str:
    """``model.h``."""
    lines = [f" * input {i}: {_described(spec)}" for i, spec in enumerate(inputs)]
    lines += [f" * output {i}: {_described(spec)}" for i, spec in enumerate(outputs)]
    return _HEADER.format(
        name=_quoted(name),
        tensors="\n".join(lines),
        inputs=len(program.inputs),
        outputs=len(program.outputs),
        kernels=len(program.calls),
        arena=layout.arena.bytes,
        weights=layout.weights,
    )


def source(
    program: Program, layout: Layout, signatures: Mapping[str, Signature], prefix: str
) -> str:
    """``model.c``.

    Args:
        program: the model.
        layout: where its memory lies.
        signatures: what each kernel's C function takes, by the function's name.
        prefix: what is put before a kernel's name to get its function's.
    """
    return _SOURCE.format(
        alignment=TENSOR_ALIGNMENT,
        prototypes="\n".join(
            f"void {name}({', '.join(_parameters(signature))});"
            for name, signature in signatures.items()
        ),
        calls="\n".join(
            f"{_call(call, step, layout, signatures[prefix + call.kernel], prefix)}\n"
            f"  DONE({step}u);"
            for step, call in enumerate(program.calls)
        ),
        inputs=_cases([_address("void", buffer, layout) for buffer in program.inputs]),
        input_bytes=_cases([f"{buffer.bytes}u" for buffer in program.inputs]),
        outputs=_cases([_address("const void", argument, layout) for argument in program.outputs]),
        output_bytes=_cases([f"{argument.bytes}u" for argument in program.outputs]),
        names=_cases([f'"{call.kernel}"' for call in program.calls]),
    )


def weights_image(program: Program, layout: Layout) -> bytes:
    """``weights.bin``: all constants, in the target's little-endian byte order."""
    image = bytearray(layout.weights)
    for constant, offset in layout.constants.items():
        value = constant.value.astype(constant.value.dtype.newbyteorder("<"))
        image[offset : offset + constant.bytes] = value.tobytes()
    return bytes(image)


def weights_assembly() -> str:
    """``weights.S``."""
    return _WEIGHTS.format(alignment=TENSOR_ALIGNMENT)


def _call(call: Call, step: int, layout: Layout, signature: Signature, prefix: str) -> str:
    tensors = [*call.inputs, *call.outputs]
    arguments = [
        _address(_c_type(pointer), argument, layout)
        for pointer, argument in zip(signature.tensors, tensors, strict=True)
    ]
    arguments += [
        f"ARENA({_c_type(pointer)}, {offset})"
        for pointer, offset in zip(signature.workspaces, layout.workspaces[step], strict=True)
    ]
    return f"  {prefix}{call.kernel}({', '.join(arguments)});"


def _parameters(signature: Signature) -> list[str]:
    pointers = [*signature.tensors, *signature.workspaces]
    return [f"{_c_type(pointer)} *" for pointer in pointers]


def _address(c_type: str, argument: Argument, layout: Layout) -> str:
    if isinstance(argument, Buffer):
        return f"ARENA({c_type}, {layout.buffers[argument]})"
    return f"WEIGHTS({c_type}, {layout.constants[argument]})"


def _c_type(pointer: Pointer) -> str:
    return C_TYPES.get(pointer.dtype, "uint8_t")


def _cases(values: Sequence[str]) -> str:
    return "\n".join(f"    case {index}u: return {value};" for index, value in enumerate(values))


def _described(spec: TensorSpec) -> str:
    return f"{_quoted(spec.name)}, {spec.dtype} {list(spec.shape)}"


def _quoted(text: str) -> str:
    """Text that neither ends a C string nor a comment."""
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text).replace(
        "*/", "*_"
    )
