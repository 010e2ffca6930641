/* What these programs share: exact types, and a buffer that the host fills and reads. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#define BUFFER_BYTES 8192

u8 buffer[BUFFER_BYTES];
