/* Arm's MPS2 and MPS3 boards as QEMU emulates them. A board's own file says where its FPGAIO and
 * UART lie and how fast the counter is, and includes this one, once. */
#include "board.h"

#define COUNTER (*(volatile uint32_t *)(FPGAIO + 0x18u)) /* cycles of the board's oscillator */
#define UART_DATA (*(volatile uint32_t *)(UART + 0x00u))
#define UART_STATE (*(volatile uint32_t *)(UART + 0x04u))
#define UART_CONTROL (*(volatile uint32_t *)(UART + 0x08u))
#define UART_INTERRUPTS (*(volatile uint32_t *)(UART + 0x0cu))
#define UART_DIVIDER (*(volatile uint32_t *)(UART + 0x10u))
#define INTERRUPT_ENABLE (*(volatile uint32_t *)0xe000e100u)
#define INTERRUPT_DISABLE (*(volatile uint32_t *)0xe000e180u)
#define INTERRUPT_FORGET (*(volatile uint32_t *)0xe000e280u)
#define TRANSMIT_FULL 1u
#define RECEIVE_FULL 2u
#define ENABLE_BOTH 3u
#define RECEIVE_INTERRUPT 8u

/* With -icount shift=7 every instruction takes 128 ns of emulated time: more than two counts, so
 * that rounding gives the exact number. */
#define NANOSECONDS_PER_INSTRUCTION 128u

void board_init(void)
{
    UART_DIVIDER = 16;
#ifdef RECEIVED_INTERRUPT
    UART_CONTROL = ENABLE_BOTH | RECEIVE_INTERRUPT;
#else
    UART_CONTROL = ENABLE_BOTH;
#endif
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

#ifdef RECEIVED_INTERRUPT
/* An interrupt only ends the wait, which leaves the emulator's processor to the serial port. None is
 * ever taken, not even one that comes between two of these lines: there is no handler. */
uint8_t board_get(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    INTERRUPT_ENABLE = RECEIVED_INTERRUPT;
    while (!(UART_STATE & RECEIVE_FULL)) {
        __asm__ volatile("wfi");
        UART_INTERRUPTS = RECEIVE_FULL;
        INTERRUPT_FORGET = RECEIVED_INTERRUPT;
    }
    const uint8_t byte = (uint8_t)UART_DATA;
    INTERRUPT_DISABLE = RECEIVED_INTERRUPT;
    UART_INTERRUPTS = RECEIVE_FULL;
    INTERRUPT_FORGET = RECEIVED_INTERRUPT;
    __asm__ volatile("dsb\n\tisb\n\tcpsie i" ::: "memory");
    return byte;
}
#else
uint8_t board_get(void)
{
    while (!(UART_STATE & RECEIVE_FULL))
        ;
    return (uint8_t)UART_DATA;
}
#endif
