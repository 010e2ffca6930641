/* Packs the first bytes of the buffer in the manner of LZ77, unpacks them elsewhere, and compares.

   Packed: a byte below 128 says how many plain bytes follow, less one; another one how many bytes to
   repeat, less 128 and plus 3, from the distance that two bytes after it give. */
#include "memory.h"

u8 packed[2 * BUFFER_BYTES];
static u8 unpacked[BUFFER_BYTES];
static u32 heads[1024];

static u32 hash(const u8 *at) {
    return ((u32)(at[0] | at[1] << 8 | at[2] << 16) * 2654435761u) >> 22;
}

static u32 plain(u32 from, u32 to, u32 out) {
    while (from < to) {
        u32 count = to - from > 128 ? 128 : to - from;
        packed[out++] = (u8)(count - 1);
        while (count--) packed[out++] = buffer[from++];
    }
    return out;
}

static u32 pack(u32 length) {
    u32 out = 0, from = 0, at = 0;
    for (u32 i = 0; i < 1024; i++) heads[i] = 0;
    while (at + 3 <= length) {
        u32 h = hash(buffer + at), before = heads[h], same = 0;
        heads[h] = at + 1;
        if (before)
            while (at + same < length && same < 130 && buffer[before - 1 + same] == buffer[at + same])
                same++;
        if (same < 3) {
            at++;
            continue;
        }
        out = plain(from, at, out);
        u32 distance = at - (before - 1);
        packed[out++] = (u8)(128 + same - 3);
        packed[out++] = (u8)distance;
        packed[out++] = (u8)(distance >> 8);
        at += same;
        from = at;
    }
    return plain(from, length, out);
}

static u32 unpack(u32 size) {
    u32 in = 0, out = 0;
    while (in < size) {
        u32 token = packed[in++];
        if (token < 128) {
            for (u32 i = 0; i <= token; i++) unpacked[out++] = packed[in++];
        } else {
            u32 distance = packed[in] | (u32)packed[in + 1] << 8;
            in += 2;
            for (u32 i = 0; i < token - 128 + 3; i++, out++) unpacked[out] = unpacked[out - distance];
        }
    }
    return out;
}

/* The packed size, 0 where something went wrong. */
u32 run(u32 length) {
    u32 size = pack(length);
    if (unpack(size) != length) return 0;
    for (u32 i = 0; i < length; i++)
        if (unpacked[i] != buffer[i]) return 0;
    return size;
}
