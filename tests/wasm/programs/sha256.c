/* SHA-256 of FIPS 180-4: of the first bytes of the buffer, into its first 32 bytes. */
#include "memory.h"

static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static u32 H[8];

static u32 rotr(u32 x, u32 n) { return x >> n | x << (32 - n); }

static void block(const u8 *m) {
    u32 w[64], s[8];
    for (int t = 0; t < 16; t++)
        w[t] = (u32)m[4 * t] << 24 | (u32)m[4 * t + 1] << 16 | (u32)m[4 * t + 2] << 8 | m[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        u32 a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + w[t - 7] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) +
               (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
    }
    for (int i = 0; i < 8; i++) s[i] = H[i];
    for (int t = 0; t < 64; t++) {
        u32 e = s[4], a = s[0];
        u32 t1 = s[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                 K[t] + w[t];
        u32 t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) +
                 ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        for (int i = 7; i > 0; i--) s[i] = s[i - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) H[i] += s[i];
}

u32 run(u32 length) {
    static const u32 begin[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    u8 last[128];
    u32 at = 0, rest;
    for (int i = 0; i < 8; i++) H[i] = begin[i];
    for (; length - at >= 64; at += 64) block(buffer + at);
    rest = length - at;
    for (u32 i = 0; i < 128; i++) last[i] = i < rest ? buffer[at + i] : i == rest ? 0x80 : 0;
    u32 end = rest < 56 ? 64 : 128;
    u64 bits = (u64)length * 8;
    for (int i = 0; i < 8; i++) last[end - 1 - i] = (u8)(bits >> (8 * i));
    block(last);
    if (end == 128) block(last + 64);
    for (int i = 0; i < 32; i++) buffer[i] = (u8)(H[i / 4] >> (24 - 8 * (i % 4)));
    return H[0];
}
