/* The byte stream between the firmware and the computer that measures. */
#ifndef STREAM_H
#define STREAM_H

#include <stdint.h>

void stream_open(void);

/* Both return when all bytes are through; reading past the end of the stream ends the program. */
void stream_read(uint8_t *bytes, uint32_t count);
void stream_write(const uint8_t *bytes, uint32_t count);

/* Ends the program: an emulator exits with this status, a board starts anew. */
void stream_close(uint32_t status) __attribute__((noreturn));

#endif
