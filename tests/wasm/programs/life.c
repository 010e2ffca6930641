/* Conway's Life on a torus of 16 by 16, a byte of the buffer a cell; gives how many cells live. */
#include "memory.h"

#define SIDE 16

static u8 next[SIDE * SIDE];

static u32 around(u32 x, u32 y) {
    u32 sum = 0;
    for (u32 dy = SIDE - 1; dy <= SIDE + 1; dy++)
        for (u32 dx = SIDE - 1; dx <= SIDE + 1; dx++)
            if (dx != SIDE || dy != SIDE) sum += buffer[(y + dy) % SIDE * SIDE + (x + dx) % SIDE];
    return sum;
}

u32 run(u32 generations) {
    u32 alive = 0;
    while (generations--) {
        for (u32 y = 0; y < SIDE; y++)
            for (u32 x = 0; x < SIDE; x++) {
                u32 n = around(x, y);
                next[y * SIDE + x] = n == 3 || (n == 2 && buffer[y * SIDE + x]);
            }
        for (u32 i = 0; i < SIDE * SIDE; i++) buffer[i] = next[i];
    }
    for (u32 i = 0; i < SIDE * SIDE; i++) alive += buffer[i];
    return alive;
}
