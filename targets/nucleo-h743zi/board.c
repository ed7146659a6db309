/* ST NUCLEO-H743ZI: Cortex-M7 at 400 MHz; the ST-LINK's serial port is USART3 (PD8, PD9).
 * Registers: ST RM0433. */
#define RCC 0x58024400u
#define FLASH 0x52002000u
#define POWER 0x58024800u
#define PORT_D 0x58020c00u
#define SERIAL 0x40004800u

#define PROCESSOR_HZ 400000000u
#define HSI_HZ 64000000u
#define BAUD 115200u
#include "stm32.h"

static void run_at_400_mhz(void)
{
    REGISTER(POWER + 0x18u) |= 3u << 14; /* scale 1 */
    wait_for(&REGISTER(POWER + 0x18u), 1u << 13);
    REGISTER(RCC + 0x28u) = 16u << 4; /* HSI / 16 = 4 MHz */
    REGISTER(RCC + 0x2cu) = 2u << 2 | 1u << 16;
    REGISTER(RCC + 0x30u) = 199u | 1u << 9; /* * 200 / 2 */
    REGISTER(RCC) |= 1u << 24;
    wait_for(&REGISTER(RCC), 1u << 25);
    REGISTER(FLASH) = 2u | 2u << 4;
    wait_for(&REGISTER(FLASH), 2u);
    REGISTER(RCC + 0x18u) = 8u | 4u << 4; /* memories and buses at half and a quarter */
    REGISTER(RCC + 0x1cu) = 4u << 4 | 4u << 8;
    REGISTER(RCC + 0x20u) = 4u << 4;
    REGISTER(RCC + 0x10u) = 3u;
    wait_for(&REGISTER(RCC + 0x10u), 3u << 3);
}

void board_init(void)
{
    run_at_400_mhz();
    enable_caches();
    REGISTER(RCC + 0xe0u) |= 1u << 3;
    REGISTER(RCC + 0xe8u) |= 1u << 18;
    REGISTER(RCC + 0x54u) = (REGISTER(RCC + 0x54u) & ~7u) | 3u; /* USART3 from HSI */
    (void)REGISTER(RCC + 0xe8u);
    pin_to(PORT_D, 8, 7);
    pin_to(PORT_D, 9, 7);
    usart_start(SERIAL, (HSI_HZ + BAUD / 2) / BAUD);
    start_cycle_counter();
}
