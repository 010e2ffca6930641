/* Multiplies two matrices of n by n, made from a seed, in f32 and in f64; gives the sum of the bits
   of the product's elements. */
#include "memory.h"

#define MOST 16

static float a32[MOST * MOST], b32[MOST * MOST];
static double a64[MOST * MOST], b64[MOST * MOST];

static u32 next(u32 *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static u64 single(u32 n, u32 seed) {
    u64 sum = 0;
    for (u32 i = 0; i < n * n; i++) a32[i] = (float)next(&seed) / 4096.0f;
    for (u32 i = 0; i < n * n; i++) b32[i] = (float)next(&seed) / 4096.0f;
    for (u32 y = 0; y < n; y++)
        for (u32 x = 0; x < n; x++) {
            union { float value; u32 bits; } c = {0};
            for (u32 k = 0; k < n; k++) c.value += a32[y * n + k] * b32[k * n + x];
            sum += c.bits;
        }
    return sum;
}

static u64 twice(u32 n, u32 seed) {
    u64 sum = 0;
    for (u32 i = 0; i < n * n; i++) a64[i] = (double)next(&seed) / 3.0;
    for (u32 i = 0; i < n * n; i++) b64[i] = (double)next(&seed) / 3.0;
    for (u32 y = 0; y < n; y++)
        for (u32 x = 0; x < n; x++) {
            union { double value; u64 bits; } c = {0};
            for (u32 k = 0; k < n; k++) c.value += a64[y * n + k] * b64[k * n + x];
            sum += c.bits;
        }
    return sum;
}

u64 run(u32 n, u32 seed, u32 kind) { return kind ? twice(n, seed) : single(n, seed); }
