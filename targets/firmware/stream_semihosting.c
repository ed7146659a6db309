/* Requests and replies are files of the computer that runs the emulator.
 * Arm, "Semihosting for AArch32 and AArch64". */
#include "stream.h"

#define SYS_OPEN 0x01u
#define SYS_WRITE 0x05u
#define SYS_READ 0x06u
#define SYS_EXIT_EXTENDED 0x20u
#define MODE_READ_BINARY 1u
#define MODE_WRITE_BINARY 5u
#define APPLICATION_EXIT 0x20026u

static const char requests_name[] = "requests.bin";
static const char replies_name[] = "replies.bin";
static uint32_t requests, replies;

static uint32_t call_host(uint32_t operation, const uint32_t *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const uint32_t *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t arguments[3] = {(uint32_t)name, mode, length};
    return call_host(SYS_OPEN, arguments);
}

void stream_open(void)
{
    requests = open_file(requests_name, sizeof requests_name - 1, MODE_READ_BINARY);
    replies = open_file(replies_name, sizeof replies_name - 1, MODE_WRITE_BINARY);
}

void stream_read(uint8_t *bytes, uint32_t count)
{
    const uint32_t arguments[3] = {requests, (uint32_t)bytes, count};
    if (call_host(SYS_READ, arguments) != 0)
        stream_close(0);
}

void stream_write(const uint8_t *bytes, uint32_t count)
{
    const uint32_t arguments[3] = {replies, (uint32_t)bytes, count};
    if (call_host(SYS_WRITE, arguments) != 0)
        stream_close(2);
}

void stream_close(uint32_t status)
{
    const uint32_t arguments[2] = {APPLICATION_EXIT, status};
    for (;;)
        call_host(SYS_EXIT_EXTENDED, arguments);
}
