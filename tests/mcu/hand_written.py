"""Hand-written C models, to try the firmware with."""

from __future__ import annotations

from tvm_prune.model import TensorSpec

LENGTH = 300
INPUTS = (TensorSpec("x", (LENGTH,), "float32"),)
OUTPUTS = (TensorSpec("y", (LENGTH,), "float32"),)

_HEADER = """
#include <stdint.h>
#define MODEL_NAME "small"
#define MODEL_INPUTS 1u
#define MODEL_OUTPUTS 1u
#define MODEL_KERNELS 2u
void *model_input(uint32_t index);
uint32_t model_input_bytes(uint32_t index);
const void *model_output(uint32_t index);
uint32_t model_output_bytes(uint32_t index);
void model_run(void);
void model_kernel_done(uint32_t index);
"""

_SOURCE = """
#include "model.h"
static float arena[600] __attribute__((section(".bss.model_arena"), aligned(16)));
static float *const in = arena, *const out = arena + 300;
void *model_input(uint32_t index) { (void)index; return in; }
uint32_t model_input_bytes(uint32_t index) { (void)index; return 1200; }
const void *model_output(uint32_t index) { (void)index; return out; }
uint32_t model_output_bytes(uint32_t index) { (void)index; return 1200; }
"""

TWICE_PLUS_ONE = """
void model_run(void)
{
    for (int i = 0; i < 300; ++i)
        out[i] = 2 * in[i];
#ifdef MODEL_PROFILE
    model_kernel_done(0);
#endif
    for (int i = 0; i < 300; ++i)
        out[i] += 1;
#ifdef MODEL_PROFILE
    model_kernel_done(1);
#endif
}
"""

COUNTED_LOOP = """
__attribute__((naked)) void model_run(void)
{
    __asm__ volatile("ldr r0, =%d\\n\\t1: subs r0, r0, #1\\n\\tbgt 1b\\n\\tbx lr");
}
"""
"""Runs two instructions a turn, and two more."""

DEEP_STACK = """
__attribute__((noinline)) static void use(volatile char *bytes) { bytes[0] = 1; }
void model_run(void)
{
    volatile char bytes[%d];
    use(bytes);
}
"""

FOREVER = 'void model_run(void) { for (;;) __asm__ volatile(""); }'

BAD_ADDRESS = """
__attribute__((noinline)) static void reads_nowhere(void)
{
    out[0] = *(volatile float *)0x50505050u;
}
void model_run(void) { reads_nowhere(); }
"""

UNDEFINED = 'void model_run(void) { __asm__ volatile("udf #0"); }'

ENDLESS_RECURSION = """
__attribute__((noinline)) static int deeper(volatile int *depth)
{
    volatile int more[64];
    more[0] = depth[0] + 1;
    return deeper(more) + more[0];
}
void model_run(void) { volatile int depth = 0; out[0] = deeper(&depth); }
"""


def c_model(body: str) -> dict[str, bytes]:
    """Files of a model with this `model_run`."""
    return {"model.h": _HEADER.encode(), "model.c": (_SOURCE + body).encode()}
