/* ST NUCLEO-L4R5ZI: Cortex-M4 at 120 MHz; the ST-LINK's serial port is LPUART1 (PG7, PG8).
 * Registers: ST RM0432. */
#define RCC 0x40021000u
#define FLASH 0x40022000u
#define POWER 0x40007000u
#define PORT_G 0x48001800u
#define SERIAL 0x40008000u

#define PROCESSOR_HZ 120000000u
#define HSI_HZ 16000000u
#define BAUD 115200u
#include "stm32.h"

static void run_at_120_mhz(void)
{
    REGISTER(RCC + 0x58u) |= 1u << 28; /* PWR */
    (void)REGISTER(RCC + 0x58u);
    REGISTER(POWER + 0x80u) &= ~(1u << 8); /* range 1 boost mode */
    REGISTER(FLASH) = (REGISTER(FLASH) & ~0xfu) | 5u | 7u << 8; /* wait states, caches */
    wait_for(&REGISTER(FLASH), 5u);
    REGISTER(RCC) |= 1u << 8; /* HSI16 */
    wait_for(&REGISTER(RCC), 1u << 10);
    REGISTER(RCC + 0x0cu) = 2u | 15u << 8 | 1u << 24; /* 16 MHz * 15 / 2 */
    REGISTER(RCC) |= 1u << 24;
    wait_for(&REGISTER(RCC), 1u << 25);
    REGISTER(RCC + 0x08u) = 8u << 4; /* half speed while the supply settles */
    REGISTER(RCC + 0x08u) |= 3u;
    wait_for(&REGISTER(RCC + 0x08u), 3u << 2);
    for (volatile uint32_t wait = 0; wait < 200; ++wait)
        ;
    REGISTER(RCC + 0x08u) = 3u;
}

void board_init(void)
{
    run_at_120_mhz();
    REGISTER(POWER + 0x04u) |= 1u << 9; /* port G has a supply of its own */
    REGISTER(RCC + 0x4cu) |= 1u << 6;
    REGISTER(RCC + 0x5cu) |= 1u;
    REGISTER(RCC + 0x88u) = (REGISTER(RCC + 0x88u) & ~(3u << 10)) | 2u << 10; /* from HSI16 */
    pin_to(PORT_G, 7, 8);
    pin_to(PORT_G, 8, 8);
    usart_start(SERIAL, (uint32_t)((256ull * HSI_HZ + BAUD / 2) / BAUD));
    start_cycle_counter();
}
