/* What the boards of ST share: cycles, and the serial port of the ST-LINK. A board's own file says
 * where that is and how fast the processor runs, and includes this one, once. */
#include "board.h"
#include "usart.h"

uint32_t board_count(void)
{
    return CYCLES;
}

uint64_t board_cost(uint32_t counts)
{
    return counts;
}

const char *board_unit(void)
{
    return "cycles";
}

uint32_t board_clock_hz(void)
{
    return PROCESSOR_HZ;
}

void board_put(uint8_t byte)
{
    usart_put(SERIAL, byte);
}

uint8_t board_get(void)
{
    return usart_get(SERIAL);
}
