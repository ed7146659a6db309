/* Tells the computer that measures where the processor faulted, and why. */
#include <stdint.h>

#include "frames.h"
#include "stream.h"

#define CONFIGURABLE_STATUS (*(volatile uint32_t *)0xe000ed28u)
#define HARD_STATUS (*(volatile uint32_t *)0xe000ed2cu)
#define MEMORY_ADDRESS (*(volatile uint32_t *)0xe000ed34u)
#define BUS_ADDRESS (*(volatile uint32_t *)0xe000ed38u)
#define STACKING_FAILED (1u << 4 | 1u << 12 | 1u << 20) /* MSTKERR, BSTKERR, STKOF */

extern uint32_t stack_limit;
__attribute__((used)) uint32_t fault_stack[512];

__attribute__((used)) void fault_report(const uint32_t *stacked)
{
    static struct frame frame;
    const uint32_t status = CONFIGURABLE_STATUS;
    const int lost = (status & STACKING_FAILED) != 0 || stacked < &stack_limit;
    const uint32_t words[7] = {
        lost ? 0 : stacked[6], /* program counter */
        lost ? 0 : stacked[5], /* link register */
        status,
        HARD_STATUS,
        MEMORY_ADDRESS,
        BUS_ADDRESS,
        (uint32_t)stacked - (uint32_t)&stack_limit,
    };
    frame.kind = 'F';
    frame.length = sizeof words;
    for (uint32_t i = 0; i < sizeof words / 4; ++i)
        store32(frame.payload + 4 * i, words[i]);
    frame_send(&frame);
    stream_close(1);
}

/* The stack may be what is broken: report on another one. */
__attribute__((naked)) void fault_entry(void)
{
    __asm__ volatile("mrs r0, msp\n\t"
#if __ARM_ARCH >= 8
                     "movs r1, #0\n\t"
                     "msr msplim, r1\n\t"
#endif
                     "ldr r1, =fault_stack + 2048\n\t"
                     "msr msp, r1\n\t"
                     "b fault_report\n\t");
}
