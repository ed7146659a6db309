#include "frames.h"

#include "stream.h"

#define MARK_FIRST 0xa5u
#define MARK_SECOND 0x5au
#define HEADER 4u

/* CRC-32 of IEEE 802.3, four bits at a time. */
static uint32_t crc32(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (uint32_t i = 0; i < count; ++i) {
        crc = table[(crc ^ bytes[i]) & 15u] ^ (crc >> 4);
        crc = table[(crc ^ (bytes[i] >> 4)) & 15u] ^ (crc >> 4);
    }
    return ~crc;
}

uint32_t load32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

void store32(uint8_t *bytes, uint32_t value)
{
    for (uint32_t i = 0; i < 4; ++i)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static void fill_header(const struct frame *frame, uint8_t header[HEADER])
{
    header[0] = frame->kind;
    header[1] = frame->sequence;
    header[2] = (uint8_t)frame->length;
    header[3] = (uint8_t)(frame->length >> 8);
}

static void find_mark(void)
{
    uint8_t before = 0, byte = 0;
    do {
        before = byte;
        stream_read(&byte, 1);
    } while (before != MARK_FIRST || byte != MARK_SECOND);
}

void frame_receive(struct frame *frame)
{
    uint8_t header[HEADER], checksum[4];
    for (;;) {
        find_mark();
        stream_read(header, HEADER);
        frame->kind = header[0];
        frame->sequence = header[1];
        frame->length = (uint16_t)(header[2] | header[3] << 8);
        if (frame->length > FRAME_PAYLOAD)
            continue;
        stream_read(frame->payload, frame->length);
        stream_read(checksum, 4);
        if (crc32(crc32(0, header, HEADER), frame->payload, frame->length) == load32(checksum))
            return;
    }
}

void frame_send(const struct frame *frame)
{
    const uint8_t mark[2] = {MARK_FIRST, MARK_SECOND};
    uint8_t header[HEADER], checksum[4];
    fill_header(frame, header);
    store32(checksum, crc32(crc32(0, header, HEADER), frame->payload, frame->length));
    stream_write(mark, 2);
    stream_write(header, HEADER);
    stream_write(frame->payload, frame->length);
    stream_write(checksum, 4);
}
