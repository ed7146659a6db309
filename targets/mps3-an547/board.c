/* Arm MPS3 with the FPGA image AN547 (Cortex-M55) as QEMU emulates it. */
#include "board.h"

#define COUNTER (*(volatile uint32_t *)(0x59302000u + 0x18u)) /* FPGAIO COUNTER: cycles of 20 MHz */
#define UART_DATA (*(volatile uint32_t *)(0x59303000u + 0x00u))
#define UART_STATE (*(volatile uint32_t *)(0x59303000u + 0x04u))
#define UART_CONTROL (*(volatile uint32_t *)(0x59303000u + 0x08u))
#define UART_DIVIDER (*(volatile uint32_t *)(0x59303000u + 0x10u))
#define TRANSMIT_FULL 1u
#define RECEIVE_FULL 2u
#define ENABLE_BOTH 3u

/* With -icount shift=7 every instruction takes 128 ns of emulated time: more than two counts, so
 * that rounding gives the exact number. */
#define NANOSECONDS_PER_COUNT 50u
#define NANOSECONDS_PER_INSTRUCTION 128u

void board_init(void)
{
    UART_DIVIDER = 16;
    UART_CONTROL = ENABLE_BOTH;
}

uint32_t board_count(void)
{
    return COUNTER;
}

uint64_t board_cost(uint32_t counts)
{
    return ((uint64_t)counts * NANOSECONDS_PER_COUNT + NANOSECONDS_PER_INSTRUCTION / 2) /
           NANOSECONDS_PER_INSTRUCTION;
}

const char *board_unit(void)
{
    return "instructions";
}

uint32_t board_clock_hz(void)
{
    return 0;
}

void board_put(uint8_t byte)
{
    while (UART_STATE & TRANSMIT_FULL)
        ;
    UART_DATA = byte;
}

uint8_t board_get(void)
{
    while (!(UART_STATE & RECEIVE_FULL))
        ;
    return (uint8_t)UART_DATA;
}
