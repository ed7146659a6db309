/* Requests and replies go over the board's serial port. */
#include "stream.h"

#include "board.h"

#define RESET_CONTROL (*(volatile uint32_t *)0xe000ed0cu)
#define RESET_REQUEST 0x05fa0004u

void stream_open(void)
{
}

void stream_read(uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i)
        bytes[i] = board_get();
}

void stream_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i)
        board_put(bytes[i]);
}

void stream_close(uint32_t status)
{
    (void)status;
    for (volatile uint32_t wait = 0; wait < 1000000; ++wait)
        ; /* the last byte leaves the port */
    RESET_CONTROL = RESET_REQUEST;
    for (;;)
        ;
}
