// i32 instructions that a plain u32 operator does not express. Values are u32.
//
// Division and remainder expect operands that were checked: a zero divisor, and the minimum divided
// by -1, give some value, never a trap.

fn i32_div_s(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<i32>(a) / bitcast<i32>(b));
}

// WGSL leaves the remainder of negative numbers to signed division, which drivers have got wrong:
// the sign is put back by hand, and the minimum modulo -1 is 0.
fn i32_rem_s(a: u32, b: u32) -> u32 {
    let r = _u32_abs(a) % _u32_abs(b);
    return select(r, 0u - r, (a >> 31u) != 0u);
}

// The magnitude of a signed number; that of the minimum is 2^31.
fn _u32_abs(a: u32) -> u32 {
    return select(a, 0u - a, (a >> 31u) != 0u);
}

fn i32_shl(a: u32, b: u32) -> u32 {
    return a << (b & 31u);
}

fn i32_shr_s(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<i32>(a) >> (b & 31u));
}

fn i32_shr_u(a: u32, b: u32) -> u32 {
    return a >> (b & 31u);
}

// Shifted out in two steps: a shift by 32 is not defined.
fn i32_rotl(a: u32, b: u32) -> u32 {
    let n = b & 31u;
    return (a << n) | ((a >> 1u) >> (31u - n));
}

fn i32_rotr(a: u32, b: u32) -> u32 {
    let n = b & 31u;
    return (a >> n) | ((a << 1u) << (31u - n));
}

fn i32_clz(a: u32) -> u32 {
    return countLeadingZeros(a);
}

fn i32_ctz(a: u32) -> u32 {
    return countTrailingZeros(a);
}

fn i32_popcnt(a: u32) -> u32 {
    return countOneBits(a);
}

fn i32_extend8_s(a: u32) -> u32 {
    return bitcast<u32>(bitcast<i32>(a << 24u) >> 24u);
}

fn i32_extend16_s(a: u32) -> u32 {
    return bitcast<u32>(bitcast<i32>(a << 16u) >> 16u);
}
