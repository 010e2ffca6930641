/* Sorts the first numbers in the buffer (i32) by quicksort, which calls itself. */
#include "memory.h"

static void sort(i32 *low, i32 *high) {
    while (low < high) {
        i32 pivot = low[(high - low) / 2];
        i32 *a = low, *b = high;
        while (a <= b) {
            while (*a < pivot) a++;
            while (*b > pivot) b--;
            if (a <= b) {
                i32 kept = *a;
                *a++ = *b;
                *b-- = kept;
            }
        }
        /* The smaller part by a call, the larger by going on: the stack stays low. */
        if (b - low < high - a) {
            sort(low, b);
            low = a;
        } else {
            sort(a, high);
            high = b;
        }
    }
}

u32 run(u32 count) {
    i32 *numbers = (i32 *)buffer;
    if (count) sort(numbers, numbers + count - 1);
    for (u32 i = 1; i < count; i++)
        if (numbers[i - 1] > numbers[i]) return 0;
    return 1;
}
