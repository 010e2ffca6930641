// f32 instructions by integers alone: IEEE 754, round to nearest, ties to even, with subnormals,
// signed zeros and infinities. Values are the bits as u32. Every NaN that is computed is the
// canonical one, 0x7fc00000.
//
// Names used throughout: `magnitude` is the value without its sign; a `significand` has its leading
// one explicit; `sticky` bits stand for all that lies below them.

fn f32_abs(a: u32) -> u32 {
    return a & 0x7fffffffu;
}

fn f32_neg(a: u32) -> u32 {
    return a ^ 0x80000000u;
}

fn f32_copysign(a: u32, b: u32) -> u32 {
    return (a & 0x7fffffffu) | (b & 0x80000000u);
}

fn f32_eq(a: u32, b: u32) -> bool {
    return (a == b || ((a | b) & 0x7fffffffu) == 0u) && !_f32_unordered(a, b);
}

fn f32_ne(a: u32, b: u32) -> bool {
    return !f32_eq(a, b);
}

fn f32_lt(a: u32, b: u32) -> bool {
    return _f32_value(a) < _f32_value(b) && !_f32_unordered(a, b);
}

fn f32_gt(a: u32, b: u32) -> bool {
    return f32_lt(b, a);
}

fn f32_le(a: u32, b: u32) -> bool {
    return _f32_value(a) <= _f32_value(b) && !_f32_unordered(a, b);
}

fn f32_ge(a: u32, b: u32) -> bool {
    return f32_le(b, a);
}

fn f32_min(a: u32, b: u32) -> u32 {
    let least = select(b, a, _f32_order(a) < _f32_order(b));
    return select(least, 0x7fc00000u, _f32_unordered(a, b));
}

fn f32_max(a: u32, b: u32) -> u32 {
    let greatest = select(a, b, _f32_order(a) < _f32_order(b));
    return select(greatest, 0x7fc00000u, _f32_unordered(a, b));
}

fn f32_add(a: u32, b: u32) -> u32 {
    // x is the one of greater magnitude: the sum has its sign, and it decides about infinities.
    let swap = (a & 0x7fffffffu) < (b & 0x7fffffffu);
    let x = select(a, b, swap);
    let y = select(b, a, swap);
    let x_magnitude = x & 0x7fffffffu;
    let y_magnitude = y & 0x7fffffffu;
    let x_exponent = max(x_magnitude >> 23u, 1u);
    let distance = min(x_exponent - max(y_magnitude >> 23u, 1u), 31u);
    let x_significand = _f32_significand(x_magnitude) << 7u;
    let y_significand = _f32_significand(y_magnitude) << 7u;
    let lost = y_significand & ((1u << distance) - 1u);
    let y_aligned = (y_significand >> distance) | min(lost, 1u);
    let opposite = ((x ^ y) >> 31u) != 0u;
    let sum = x_significand + select(y_aligned, 0u - y_aligned, opposite);
    // Normalise as far as the exponent lets us; a subnormal sum is exact.
    let shift = min(countLeadingZeros(sum), x_exponent);
    let packed = _f32_pack(x_exponent + 1u - shift, sum << (shift & 31u));
    let nonzero = packed | (x & 0x80000000u);
    let finite = select(nonzero, x & y & 0x80000000u, sum == 0u);
    let nan = x_magnitude > 0x7f800000u || (opposite && y_magnitude == 0x7f800000u);
    return select(finite, select(x, 0x7fc00000u, nan), x_magnitude >= 0x7f800000u);
}

fn f32_sub(a: u32, b: u32) -> u32 {
    return f32_add(a, b ^ 0x80000000u);
}

fn f32_mul(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & 0x80000000u;
    let x = _f32_normal(a);
    let y = _f32_normal(b);
    // 24 by 24 bits from pieces of 16 and 8: the top 32 bits of the product, the rest sticky.
    let x0 = x.x & 0xffu;
    let x1 = x.x >> 8u;
    let y0 = y.x & 0xffu;
    let y1 = y.x >> 8u;
    let low = x0 * y0;
    let middle = x1 * y0 + x0 * y1 + (low >> 8u);
    let product = (x1 * y1 + (middle >> 8u)) | min((middle | low) & 0xffu, 1u);
    let shift = 1u - (product >> 31u);
    let exponent = bitcast<i32>(x.y + y.y - 126u - shift);
    let finite = sign | _f32_round(exponent, product << shift);
    let greater = max(a & 0x7fffffffu, b & 0x7fffffffu);
    let nan = greater > 0x7f800000u || product == 0u;
    return select(finite, select(sign | 0x7f800000u, 0x7fc00000u, nan), greater >= 0x7f800000u);
}

fn f32_div(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & 0x80000000u;
    let x = _f32_normal(a);
    let y = _f32_normal(b);
    // Two digits of the quotient, each at most a little too small, then the exact remainder.
    let reciprocal = (_reciprocal_rough(max(y.x << 8u, 0x80000000u)) >> 15u) - 1u;
    let digit1 = ((x.x >> 8u) * reciprocal) >> 18u;
    let rest1 = (x.x << 13u) - digit1 * y.x;
    let digit2 = ((rest1 >> 10u) * reciprocal) >> 17u;
    let rest2 = (rest1 << 12u) - digit2 * y.x;
    let more = u32(rest2 >= y.x) + u32(rest2 >= 2u * y.x);
    let quotient = (digit1 << 12u) + digit2 + more;
    let scaled = (quotient << 6u) | u32(rest2 != more * y.x);
    let shift = 1u - (scaled >> 31u);
    let exponent = bitcast<i32>(x.y - y.y + 127u - shift);
    let a_magnitude = a & 0x7fffffffu;
    let b_magnitude = b & 0x7fffffffu;
    let finite = _f32_round(exponent, scaled << shift);
    let infinite = a_magnitude == 0x7f800000u || b_magnitude == 0u;
    let zero = a_magnitude == 0u || b_magnitude == 0x7f800000u;
    let value = sign | select(select(finite, 0u, zero), 0x7f800000u, infinite);
    return select(value, 0x7fc00000u, (infinite && zero) || _f32_unordered(a, b));
}

fn f32_sqrt(a: u32) -> u32 {
    let x = _f32_normal(a);
    let odd = (x.y & 1u) == 0u;
    let m = max(x.x << 8u, 0x80000000u);
    let inverse = _inverse_root_rough(m, odd) >> 15u;
    // The root's first 16 bits, then 10 more from what is left: within one unit of the true root,
    // so that the sign of the remainder is all that rounding needs. A root is never half-way.
    let square = select(m >> 1u, m, odd);
    let root1 = ((square >> 16u) * inverse) >> 15u;
    let rest1 = bitcast<i32>(square - root1 * root1);
    let step = ((rest1 >> 4u) * bitcast<i32>(inverse) + 0x20000) >> 18u;
    let root = (root1 << 10u) + bitcast<u32>(step);
    let rest = bitcast<i32>((square << 20u) - root * root);
    let scaled = bitcast<u32>(bitcast<i32>(root << 6u) + sign(rest));
    let finite = _f32_pack(bitcast<u32>(bitcast<i32>(x.y + 127u) >> 1u), scaled);
    let itself = (a & 0x7fffffffu) == 0u || a == 0x7f800000u;
    return select(select(finite, 0x7fc00000u, a > 0x7f800000u), a, itself);
}

fn f32_ceil(a: u32) -> u32 {
    return _f32_to_integral(a, (a >> 31u) == 0u, false);
}

fn f32_floor(a: u32) -> u32 {
    return _f32_to_integral(a, (a >> 31u) != 0u, false);
}

fn f32_trunc(a: u32) -> u32 {
    return _f32_to_integral(a, false, false);
}

fn f32_nearest(a: u32) -> u32 {
    return _f32_to_integral(a, false, true);
}

// The integral value next to a: towards zero, or away from it, or the nearest, ties to even.
fn _f32_to_integral(a: u32, away: bool, nearest: bool) -> u32 {
    let magnitude = a & 0x7fffffffu;
    let exponent = magnitude >> 23u;
    let small = exponent < 127u;
    let unit = 1u << u32(clamp(150 - i32(exponent), 0, 23));
    let fraction = magnitude & (unit - 1u);
    let even_gap = u32((magnitude & unit) == 0u);
    let above = select(away && fraction != 0u, fraction * 2u >= unit + even_gap, nearest);
    let integral = magnitude - fraction + select(0u, unit, above);
    let one = select(away && magnitude != 0u, magnitude > 0x3f000000u, nearest);
    let value = select(integral, select(0u, 0x3f800000u, one), small);
    return select((a & 0x80000000u) | value, 0x7fc00000u, magnitude > 0x7f800000u);
}

fn _f32_unordered(a: u32, b: u32) -> bool {
    return max(a & 0x7fffffffu, b & 0x7fffffffu) > 0x7f800000u;
}

// Ordered as the numbers are, both zeros alike.
fn _f32_value(a: u32) -> i32 {
    let magnitude = bitcast<i32>(a & 0x7fffffffu);
    return select(magnitude, -magnitude, (a >> 31u) != 0u);
}

// Ordered as the numbers are, -0 before +0.
fn _f32_order(a: u32) -> i32 {
    let bits = bitcast<i32>(a);
    return bits ^ ((bits >> 31u) & 0x7fffffff);
}

fn _f32_significand(magnitude: u32) -> u32 {
    return (magnitude & 0x7fffffu) | select(0u, 0x800000u, magnitude >= 0x800000u);
}

// The significand, shifted so that its leading one is bit 23 (0 for zero), and the biased exponent
// that goes with it, which a subnormal takes to 0 or below.
fn _f32_normal(a: u32) -> vec2<u32> {
    let magnitude = a & 0x7fffffffu;
    let significand = _f32_significand(magnitude);
    let shift = countLeadingZeros(significand) - 8u;
    return vec2<u32>(significand << shift, max(magnitude >> 23u, 1u) - shift);
}

// The magnitude's bits: the significand has its leading one in bit 31, or the exponent is 1 and the
// number subnormal; its low 8 bits are rounded off. Overflow gives infinity.
fn _f32_pack(exponent: u32, significand: u32) -> u32 {
    let kept = significand >> 8u;
    let up = ((significand & 0xffu) + 0x7fu + (kept & 1u)) >> 8u;
    return min(((exponent - 1u) << 23u) + kept + up, 0x7f800000u);
}

// The same for any exponent, and for a significand of 0.
fn _f32_round(exponent: i32, significand: u32) -> u32 {
    let shift = u32(clamp(1 - exponent, 0, 31));
    let lost = significand & ((1u << shift) - 1u);
    let shifted = (significand >> shift) | min(lost, 1u);
    let bounded = select(u32(clamp(exponent, 1, 255)), 1u, significand == 0u);
    return _f32_pack(bounded, shifted);
}
