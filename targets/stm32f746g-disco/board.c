/* ST STM32F746G-DISCO: Cortex-M7 at 216 MHz; the ST-LINK's serial port is USART1 (PA9, PB7).
 * Registers: ST RM0385. */
#define RCC 0x40023800u
#define FLASH 0x40023c00u
#define POWER 0x40007000u
#define PORT_A 0x40020000u
#define PORT_B 0x40020400u
#define SERIAL 0x40011000u

#define PROCESSOR_HZ 216000000u
#define HSI_HZ 16000000u
#define BAUD 115200u
#include "stm32.h"

static void run_at_216_mhz(void)
{
    REGISTER(RCC + 0x40u) |= 1u << 28; /* PWR */
    (void)REGISTER(RCC + 0x40u);
    REGISTER(POWER) |= 3u << 14; /* scale 1 */
    REGISTER(RCC + 0x04u) = 16u | 432u << 6 | 0u << 16 | 2u << 24; /* 16 MHz / 16 * 432 / 2 */
    REGISTER(RCC) |= 1u << 24;
    wait_for(&REGISTER(RCC), 1u << 25);
    REGISTER(POWER) |= 1u << 16; /* over-drive */
    wait_for(&REGISTER(POWER + 0x04u), 1u << 16);
    REGISTER(POWER) |= 1u << 17;
    wait_for(&REGISTER(POWER + 0x04u), 1u << 17);
    REGISTER(FLASH) = 7u | 3u << 8; /* wait states, prefetch, accelerator */
    wait_for(&REGISTER(FLASH), 7u);
    REGISTER(RCC + 0x08u) = 5u << 10 | 4u << 13 | 2u; /* buses at a quarter and a half */
    wait_for(&REGISTER(RCC + 0x08u), 2u << 2);
}

void board_init(void)
{
    run_at_216_mhz();
    enable_caches();
    REGISTER(RCC + 0x30u) |= 3u;
    REGISTER(RCC + 0x44u) |= 1u << 4;
    REGISTER(RCC + 0x90u) = (REGISTER(RCC + 0x90u) & ~3u) | 2u; /* USART1 from HSI */
    pin_to(PORT_A, 9, 7);
    pin_to(PORT_B, 7, 7);
    usart_start(SERIAL, (HSI_HZ + BAUD / 2) / BAUD);
    start_cycle_counter();
}
