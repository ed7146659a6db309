/* Vector table and start-up of any Cortex-M with a floating-point unit; no C library is needed. */
#include <stdint.h>

#include "stack.h"

extern uint32_t data_load, data_start, data_end, bss_start, bss_end;
extern uint32_t stack_guard, stack_limit, stack_top;

#define COPROCESSORS (*(volatile uint32_t *)0xe000ed88u)
#define SINGLE_AND_DOUBLE_PRECISION (0xfu << 20)
#define FAULT_ENABLE (*(volatile uint32_t *)0xe000ed24u)
#define MEMORY_BUS_AND_USAGE_FAULTS (7u << 16)
#define STACK_PATTERN 0xc0dec0deu

#if __ARM_ARCH < 8
#define PROTECTION_CONTROL (*(volatile uint32_t *)0xe000ed94u)
#define PROTECTION_REGION (*(volatile uint32_t *)0xe000ed98u)
#define PROTECTION_BASE (*(volatile uint32_t *)0xe000ed9cu)
#define PROTECTION_SIZE (*(volatile uint32_t *)0xe000eda0u)
#define ENABLED_ELSE_DEFAULT_MAP 5u
#define NO_ACCESS_256_BYTES (1u << 28 | 7u << 1 | 1u)
#endif

int main(void);
void board_init(void);
void fault_entry(void);

/* A stack that overflows is a fault, not a variable that changes. */
static void guard_stack(void)
{
#if __ARM_ARCH < 8
    PROTECTION_REGION = 0;
    PROTECTION_BASE = (uint32_t)&stack_guard;
    PROTECTION_SIZE = NO_ACCESS_256_BYTES;
    PROTECTION_CONTROL = ENABLED_ELSE_DEFAULT_MAP;
#else
    __asm__ volatile("msr msplim, %0" ::"r"(&stack_limit));
#endif
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

static void paint_stack(void)
{
    uint32_t *top = __builtin_frame_address(0);
    for (uint32_t *word = &stack_limit; word < top - 16; ++word)
        *word = STACK_PATTERN;
}

uint32_t stack_used(void)
{
    const uint32_t *word = &stack_limit;
    while (word < &stack_top && *word == STACK_PATTERN)
        ++word;
    return (uint32_t)((const uint8_t *)&stack_top - (const uint8_t *)word);
}

void reset_entry(void)
{
    COPROCESSORS |= SINGLE_AND_DOUBLE_PRECISION;
    FAULT_ENABLE |= MEMORY_BUS_AND_USAGE_FAULTS;
    guard_stack();
    paint_stack();
    const uint32_t *from = &data_load;
    for (uint32_t *to = &data_start; to < &data_end; ++to)
        *to = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end; ++to)
        *to = 0;
    board_init();
    main();
    for (;;)
        ;
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,
    reset_entry,
    fault_entry, /* NMI */
    fault_entry, /* HardFault */
    fault_entry, /* MemManage */
    fault_entry, /* BusFault */
    fault_entry, /* UsageFault */
    fault_entry, /* SecureFault */
    0,
    0,
    0,
    fault_entry, /* SVCall */
    fault_entry, /* DebugMonitor */
    0,
    fault_entry, /* PendSV */
    fault_entry, /* SysTick */
};
