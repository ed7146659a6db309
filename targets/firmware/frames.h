/* Frames: A5 5A, kind, sequence number, length (2 bytes), payload, CRC-32 (4 bytes) of all between
 * the first two bytes and itself. Numbers are little-endian. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdint.h>

#define FRAME_PAYLOAD 1024u

struct frame {
    uint8_t kind;
    uint8_t sequence;
    uint16_t length;
    uint8_t payload[FRAME_PAYLOAD];
};

/* Waits for the next frame whose checksum is right; everything else is skipped. */
void frame_receive(struct frame *frame);
void frame_send(const struct frame *frame);

uint32_t load32(const uint8_t *bytes);
void store32(uint8_t *bytes, uint32_t value);

#endif
