/* CRC-32 of ITU-T V.42, reflected, polynomial 0x04C11DB7, by a table that is made first. */
#include "memory.h"

static u32 table[256];

static void make_table(void) {
    for (u32 n = 0; n < 256; n++) {
        u32 c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        table[n] = c;
    }
}

u32 run(u32 length) {
    if (!table[1]) make_table();
    u32 c = 0xFFFFFFFFu;
    for (u32 i = 0; i < length; i++) c = table[(c ^ buffer[i]) & 0xFF] ^ (c >> 8);
    return c ^ 0xFFFFFFFFu;
}
