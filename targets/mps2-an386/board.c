/* Arm MPS2 with the FPGA image AN386 (Cortex-M4) as QEMU emulates it. */
#include "board.h"

#define COUNTER (*(volatile uint32_t *)(0x40028000u + 0x18u)) /* FPGAIO COUNTER: cycles of 25 MHz */
#define UART_DATA (*(volatile uint32_t *)(0x40004000u + 0x00u))
#define UART_STATE (*(volatile uint32_t *)(0x40004000u + 0x04u))
#define UART_CONTROL (*(volatile uint32_t *)(0x40004000u + 0x08u))
#define UART_DIVIDER (*(volatile uint32_t *)(0x40004000u + 0x10u))
#define UART_INTERRUPTS (*(volatile uint32_t *)(0x40004000u + 0x0cu))
#define INTERRUPT_ENABLE (*(volatile uint32_t *)0xe000e100u)
#define INTERRUPT_FORGET (*(volatile uint32_t *)0xe000e280u)
#define RECEIVED_INTERRUPT 1u /* number 0 */
#define TRANSMIT_FULL 1u
#define RECEIVE_FULL 2u
#define ENABLE_BOTH 3u
#define RECEIVE_INTERRUPT 8u

/* With -icount shift=7 every instruction takes 128 ns of emulated time: more than two counts, so
 * that rounding gives the exact number. */
#define NANOSECONDS_PER_COUNT 40u
#define NANOSECONDS_PER_INSTRUCTION 128u

void board_init(void)
{
    UART_DIVIDER = 16;
    UART_CONTROL = ENABLE_BOTH | RECEIVE_INTERRUPT;
    INTERRUPT_ENABLE = RECEIVED_INTERRUPT;
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

/* Interrupts only end the wait, which leaves the emulator's processor to the serial port. */
uint8_t board_get(void)
{
    __asm__ volatile("cpsid i");
    while (!(UART_STATE & RECEIVE_FULL)) {
        __asm__ volatile("wfi");
        UART_INTERRUPTS = RECEIVE_FULL;
        INTERRUPT_FORGET = RECEIVED_INTERRUPT;
    }
    const uint8_t byte = (uint8_t)UART_DATA;
    UART_INTERRUPTS = RECEIVE_FULL;
    INTERRUPT_FORGET = RECEIVED_INTERRUPT;
    __asm__ volatile("cpsie i");
    return byte;
}
