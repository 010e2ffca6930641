/* The Mandelbrot set on a grid of n by n: a checksum of how soon each point escapes, in fixed point
   with 12 bits behind the point, in f32 and in f64. */
#include "memory.h"

#define MOST 24

static u32 fixed(i32 cr, i32 ci) {
    i32 r = 0, i = 0;
    for (u32 n = 0; n < MOST; n++) {
        i32 rr = (r * r) >> 12, ii = (i * i) >> 12;
        if (rr + ii > 4 << 12) return n;
        i = ((r * i) >> 11) + ci;
        r = rr - ii + cr;
    }
    return MOST;
}

static u32 single(float cr, float ci) {
    float r = 0, i = 0;
    for (u32 n = 0; n < MOST; n++) {
        float rr = r * r, ii = i * i;
        if (rr + ii > 4.0f) return n;
        i = 2.0f * r * i + ci;
        r = rr - ii + cr;
    }
    return MOST;
}

static u32 twice(double cr, double ci) {
    double r = 0, i = 0;
    for (u32 n = 0; n < MOST; n++) {
        double rr = r * r, ii = i * i;
        if (rr + ii > 4.0) return n;
        i = 2.0 * r * i + ci;
        r = rr - ii + cr;
    }
    return MOST;
}

u32 run(u32 n, u32 kind) {
    u32 sum = 0;
    for (u32 y = 0; y < n; y++)
        for (u32 x = 0; x < n; x++) {
            u32 times;
            if (kind == 0)
                times = fixed((i32)(3 * 4096 * x / n) - 2 * 4096, (i32)(2 * 4096 * y / n) - 4096);
            else if (kind == 1)
                times = single(3.0f * (float)x / (float)n - 2.0f, 2.0f * (float)y / (float)n - 1.0f);
            else
                times = twice(3.0 * x / n - 2.0, 2.0 * y / n - 1.0);
            sum = sum * 31 + times;
        }
    return sum;
}
