// i64 instructions. Values are vec2<u32>: x is the low word, y the high one.
//
// Division and remainder expect operands that were checked: a zero divisor, and the minimum divided
// by -1, give some value, never a trap.

fn i64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn i64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn i64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = _u32_mul_wide(a.x, b.x);
    return vec2<u32>(low.x, low.y + a.x * b.y + a.y * b.x);
}

fn i64_and(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return a & b;
}

fn i64_or(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return a | b;
}

fn i64_xor(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return a ^ b;
}

fn i64_shl(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return _u64_shl(a, b.x & 63u);
}

fn i64_shr_u(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return _u64_shr(a, b.x & 63u);
}

fn i64_shr_s(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let s = b.x & 31u;
    let far = (b.x & 32u) != 0u;
    let fill = bitcast<u32>(bitcast<i32>(a.y) >> 31u);
    let low = select(a.x, a.y, far);
    let high = select(a.y, fill, far);
    return vec2<u32>((low >> s) | ((high << 1u) << (31u - s)), bitcast<u32>(bitcast<i32>(high) >> s));
}

fn i64_rotl(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let s = b.x & 31u;
    let v = select(a, a.yx, (b.x & 32u) != 0u);
    return (v << vec2<u32>(s)) | ((v.yx >> vec2<u32>(1u)) >> vec2<u32>(31u - s));
}

fn i64_rotr(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let s = b.x & 31u;
    let v = select(a, a.yx, (b.x & 32u) != 0u);
    return (v >> vec2<u32>(s)) | ((v.yx << vec2<u32>(1u)) << vec2<u32>(31u - s));
}

fn i64_clz(a: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(_u64_clz(a), 0u);
}

fn i64_ctz(a: vec2<u32>) -> vec2<u32> {
    let n = select(countTrailingZeros(a.x), 32u + countTrailingZeros(a.y), a.x == 0u);
    return vec2<u32>(n, 0u);
}

fn i64_popcnt(a: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(countOneBits(a.x) + countOneBits(a.y), 0u);
}

fn i64_eqz(a: vec2<u32>) -> bool {
    return (a.x | a.y) == 0u;
}

fn i64_eq(a: vec2<u32>, b: vec2<u32>) -> bool {
    return ((a.x ^ b.x) | (a.y ^ b.y)) == 0u;
}

fn i64_ne(a: vec2<u32>, b: vec2<u32>) -> bool {
    return ((a.x ^ b.x) | (a.y ^ b.y)) != 0u;
}

fn i64_lt_s(a: vec2<u32>, b: vec2<u32>) -> bool {
    return select(a.x < b.x, bitcast<i32>(a.y) < bitcast<i32>(b.y), a.y != b.y);
}

fn i64_lt_u(a: vec2<u32>, b: vec2<u32>) -> bool {
    return select(a.x < b.x, a.y < b.y, a.y != b.y);
}

fn i64_gt_s(a: vec2<u32>, b: vec2<u32>) -> bool {
    return i64_lt_s(b, a);
}

fn i64_gt_u(a: vec2<u32>, b: vec2<u32>) -> bool {
    return i64_lt_u(b, a);
}

fn i64_le_s(a: vec2<u32>, b: vec2<u32>) -> bool {
    return !i64_lt_s(b, a);
}

fn i64_le_u(a: vec2<u32>, b: vec2<u32>) -> bool {
    return !i64_lt_u(b, a);
}

fn i64_ge_s(a: vec2<u32>, b: vec2<u32>) -> bool {
    return !i64_lt_s(a, b);
}

fn i64_ge_u(a: vec2<u32>, b: vec2<u32>) -> bool {
    return !i64_lt_u(a, b);
}

fn i64_extend_i32_s(a: u32) -> vec2<u32> {
    return vec2<u32>(a, bitcast<u32>(bitcast<i32>(a) >> 31u));
}

fn i64_extend_i32_u(a: u32) -> vec2<u32> {
    return vec2<u32>(a, 0u);
}

fn i64_extend8_s(a: vec2<u32>) -> vec2<u32> {
    return i64_extend_i32_s(bitcast<u32>(bitcast<i32>(a.x << 24u) >> 24u));
}

fn i64_extend16_s(a: vec2<u32>) -> vec2<u32> {
    return i64_extend_i32_s(bitcast<u32>(bitcast<i32>(a.x << 16u) >> 16u));
}

fn i64_extend32_s(a: vec2<u32>) -> vec2<u32> {
    return i64_extend_i32_s(a.x);
}

fn i32_wrap_i64(a: vec2<u32>) -> u32 {
    return a.x;
}

fn i64_div_u(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return _u64_divide(a, b).xy;
}

fn i64_rem_u(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return _u64_divide(a, b).zw;
}

fn i64_div_s(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let quotient = _u64_divide(_u64_abs(a), _u64_abs(b)).xy;
    return _u64_negate_if(quotient, ((a.y ^ b.y) >> 31u) != 0u);
}

fn i64_rem_s(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let remainder = _u64_divide(_u64_abs(a), _u64_abs(b)).zw;
    return _u64_negate_if(remainder, (a.y >> 31u) != 0u);
}

// --- what the rest of the library stands on ---

// The magnitude of a signed number; that of the minimum is 2^63.
fn _u64_abs(a: vec2<u32>) -> vec2<u32> {
    return _u64_negate_if(a, (a.y >> 31u) != 0u);
}

fn _u64_negate_if(a: vec2<u32>, negate: bool) -> vec2<u32> {
    return select(a, vec2<u32>(0u - a.x, ~a.y + u32(a.x == 0u)), negate);
}

fn _u64_clz(a: vec2<u32>) -> u32 {
    return select(countLeadingZeros(a.y), 32u + countLeadingZeros(a.x), a.y == 0u);
}

// n < 64; a larger n shifts by n modulo 32 or more, which only zero survives.
fn _u64_shl(a: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let far = n >= 32u;
    let high = select(a.y, a.x, far);
    let low = select(a.x, 0u, far);
    return vec2<u32>(low << s, (high << s) | ((low >> 1u) >> (31u - s)));
}

// n < 64.
fn _u64_shr(a: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let far = n >= 32u;
    let low = select(a.x, a.y, far);
    let high = select(a.y, 0u, far);
    return vec2<u32>((low >> s) | ((high << 1u) << (31u - s)), high >> s);
}

// n < 64. The lowest bit of the result also tells whether a bit was shifted out.
fn _u64_shr_sticky(a: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let far = n >= 32u;
    let low = select(a.x, a.y, far);
    let high = select(a.y, 0u, far);
    let lost = select(0u, a.x, far) | (low & ((1u << s) - 1u));
    return vec2<u32>((low >> s) | ((high << 1u) << (31u - s)) | min(lost, 1u), high >> s);
}

// The whole product. WGSL has no high half of a product: it is put together from 16-bit halves.
fn _u32_mul_wide(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let middle = a1 * b0 + ((a0 * b0) >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a * b, a1 * b1 + (middle >> 16u) + (other >> 16u));
}

// The low 64 bits of the product.
fn _u64_mul_u32(a: vec2<u32>, b: u32) -> vec2<u32> {
    let low = _u32_mul_wide(a.x, b);
    return vec2<u32>(low.x, low.y + a.y * b);
}

// About 2^62 / b for b >= 2^31, within 2^-17 of it: a cubic (Chebyshev, 1 - b*y = T4 / 577), then one
// step of Newton's method whose residue is exact in the low word.
fn _reciprocal_rough(b: u32) -> u32 {
    let t = b >> 16u;
    let h = 87230u - ((14538u * t) >> 15u);
    let y = (3036995939u - 96316u * t + ((t * t) >> 16u) * h) >> 14u;
    let residue = bitcast<i32>(0u - (b >> 8u) * y);
    return (y << 15u) + bitcast<u32>((bitcast<i32>(y) * (residue >> 16u)) >> 8u);
}

// 2^63 / b for b >= 2^31, at most 4 too small and never too large: one more step, to full width.
fn _reciprocal(b: u32) -> u32 {
    let y = _reciprocal_rough(b);
    let p = _u32_mul_wide(b, y);
    let residue = bitcast<i32>(0u - ((p.y << 16u) | (p.x >> 16u)));
    let step = (bitcast<i32>(y >> 15u) * (residue >> 14u)) >> 16u;
    return (y << 1u) + bitcast<u32>(step) - 1u;
}

// Quotient (xy) and remainder (zw). Most programs' i64 are small: the hardware divides those, in a
// branch of its own, a fifth of the time of the rest.
fn _u64_divide(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    var result: vec4<u32>;
    if ((a.y | b.y) == 0u) {
        let quotient = a.x / b.x;
        result = vec4<u32>(quotient, 0u, a.x - quotient * b.x, 0u);
    } else {
        result = _u64_divide_long(a, b);
    }
    return result;
}

// The same without a loop. Each round takes off what the top 32 bits of the divisor tell, never too
// much: the first leaves at most 2^36 of the quotient, the second 2^7, the third 1.
fn _u64_divide_long(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    let n = _u64_clz(b) & 63u;
    // The lower bits of the divisor take at most 2 off the reciprocal.
    let r = _reciprocal(max(_u64_shl(b, n).y, 0x80000000u)) - 2u;
    let q1 = _u64_scaled(a, r, 63u - n);
    let rest1 = i64_sub(a, i64_mul(q1, b));
    let q2 = _u64_scaled(rest1, r, 63u - n);
    let rest2 = i64_sub(rest1, i64_mul(q2, b));
    let top = _u64_shl(rest2, max(n, 7u) - 7u).y >> (7u - min(n, 7u));
    let q3 = _u32_mul_wide(top, r).y >> 24u;
    let rest3 = i64_sub(rest2, _u64_mul_u32(b, q3));
    let more = !i64_lt_u(rest3, b);
    let quotient = i64_add(i64_add(q1, q2), vec2<u32>(q3 + u32(more), 0u));
    return vec4<u32>(quotient, select(rest3, i64_sub(rest3, b), more));
}

// a * r / 2^(32 + n), rounded down.
fn _u64_scaled(a: vec2<u32>, r: u32, n: u32) -> vec2<u32> {
    let high = _u32_mul_wide(a.y, r);
    let low = _u32_mul_wide(a.x, r).y;
    return _u64_shr(i64_add(high, vec2<u32>(low, 0u)), n);
}

// 2^31 / sqrt(x) within 2^-20 of it, where x is m / 2^31, or twice that if `odd`; m >= 2^31. A cubic
// (minimax), then one step of Newton's method.
fn _inverse_root_rough(m: u32, odd: bool) -> u32 {
    let t = m >> 16u;
    let h = select(34646u, 24498u, odd) - ((select(5542u, 3919u, odd) * t) >> 15u);
    let line = select(1978083436u, 1398716213u, odd) - select(42166u, 29816u, odd) * t;
    let y = (line + ((t * t) >> 16u) * h) >> 14u;
    let residue = bitcast<i32>(0x40000000u - _u32_mul_wide(y * y, select(m >> 1u, m, odd)).y);
    return (y << 15u) + bitcast<u32>((bitcast<i32>(y) * (residue >> 6u)) >> 10u);
}

// 2^32 / sqrt(x), at most 4 too small and never too large: one more step, to full width.
fn _inverse_root(m: u32, odd: bool) -> u32 {
    let y = min(_inverse_root_rough(m, odd), 0x7fffffffu);
    let square = _u32_mul_wide(y, y);
    let p = _u32_mul_wide((square.y << 2u) | (square.x >> 30u), select(m >> 1u, m, odd));
    let residue = bitcast<i32>(0u - ((p.y << 16u) | (p.x >> 16u)));
    let step = (bitcast<i32>(y >> 15u) * (residue >> 13u)) >> 18u;
    return (y << 1u) + bitcast<u32>(step) - 2u;
}
