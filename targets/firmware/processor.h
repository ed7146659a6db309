/* What Cortex-M processors share: the cycle counter, and the caches of the Cortex-M7. */
#ifndef PROCESSOR_H
#define PROCESSOR_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define CYCLES REGISTER(0xe0001004u)

/* Armv7-M Architecture Reference Manual, C1.8: the Data Watchpoint and Trace unit. */
static inline void start_cycle_counter(void)
{
    REGISTER(0xe000edfcu) |= 1u << 24; /* DEMCR.TRCENA */
    REGISTER(0xe0001fb0u) = 0xc5acce55u; /* unlock, where there is a lock */
    CYCLES = 0;
    REGISTER(0xe0001000u) |= 1u;
}

/* Armv7-M Architecture Reference Manual, B2.2: invalidate both caches, then enable them. */
static inline void enable_caches(void)
{
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    REGISTER(0xe000ef50u) = 0; /* ICIALLU */
    REGISTER(0xe000ed84u) = 0; /* CSSELR: the level 1 data cache */
    __asm__ volatile("dsb" ::: "memory");
    const uint32_t size = REGISTER(0xe000ed80u); /* CCSIDR */
    const uint32_t sets = (size >> 13) & 0x7fffu, ways = (size >> 3) & 0x3ffu;
    for (uint32_t set = 0; set <= sets; ++set)
        for (uint32_t way = 0; way <= ways; ++way)
            REGISTER(0xe000ef60u) = way << 30 | set << 5; /* DCISW */
    __asm__ volatile("dsb" ::: "memory");
    REGISTER(0xe000ed14u) |= 1u << 17 | 1u << 16;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

static inline void wait_for(volatile uint32_t *where, uint32_t bits)
{
    while ((*where & bits) != bits)
        ;
}

#endif
