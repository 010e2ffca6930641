/* The ways to place n queens on a board of n by n, by backtracking with three sets of bits. */
#include "memory.h"

static u32 place(u32 all, u32 columns, u32 left, u32 right) {
    u32 found = 0;
    if (columns == all) return 1;
    for (u32 free = all & ~(columns | left | right); free; free &= free - 1) {
        u32 one = free & -free;
        found += place(all, columns | one, (left | one) << 1, (right | one) >> 1);
    }
    return found;
}

u32 run(u32 n) { return place((1u << n) - 1, 0, 0, 0); }
