// f64 instructions by integers alone: IEEE 754, round to nearest, ties to even, with subnormals,
// signed zeros and infinities. Values are the bits as vec2<u32>, x the low word. Every NaN that is
// computed is the canonical one, 0x7ff80000_00000000.
//
// Names used throughout: `top` is the high word without its sign, its lowest bit sticky for the low
// word: it tells zeros, infinities and NaNs; a `significand` has its leading one explicit.

fn f64_abs(a: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x, a.y & 0x7fffffffu);
}

fn f64_neg(a: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x, a.y ^ 0x80000000u);
}

fn f64_copysign(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x, (a.y & 0x7fffffffu) | (b.y & 0x80000000u));
}

fn f64_eq(a: vec2<u32>, b: vec2<u32>) -> bool {
    let zeros = (a.x | b.x | ((a.y | b.y) & 0x7fffffffu)) == 0u;
    return (i64_eq(a, b) || zeros) && !_f64_unordered(a, b);
}

fn f64_ne(a: vec2<u32>, b: vec2<u32>) -> bool {
    return !f64_eq(a, b);
}

fn f64_lt(a: vec2<u32>, b: vec2<u32>) -> bool {
    return i64_lt_s(_f64_value(a), _f64_value(b)) && !_f64_unordered(a, b);
}

fn f64_gt(a: vec2<u32>, b: vec2<u32>) -> bool {
    return f64_lt(b, a);
}

fn f64_le(a: vec2<u32>, b: vec2<u32>) -> bool {
    return i64_le_s(_f64_value(a), _f64_value(b)) && !_f64_unordered(a, b);
}

fn f64_ge(a: vec2<u32>, b: vec2<u32>) -> bool {
    return f64_le(b, a);
}

fn f64_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let least = select(b, a, i64_lt_s(_f64_order(a), _f64_order(b)));
    return select(least, vec2<u32>(0u, 0x7ff80000u), _f64_unordered(a, b));
}

fn f64_max(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let greatest = select(a, b, i64_lt_s(_f64_order(a), _f64_order(b)));
    return select(greatest, vec2<u32>(0u, 0x7ff80000u), _f64_unordered(a, b));
}

fn f64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    // x is the one of greater magnitude: the sum has its sign, and it decides about infinities.
    let swap = i64_lt_u(f64_abs(a), f64_abs(b));
    let x = select(a, b, swap);
    let y = select(b, a, swap);
    let x_exponent = max((x.y >> 20u) & 0x7ffu, 1u);
    let distance = min(x_exponent - max((y.y >> 20u) & 0x7ffu, 1u), 63u);
    let s = _f64_significand(x);
    let t = _f64_significand(y);
    let p = vec2<u32>(s.x << 10u, (s.y << 10u) | (s.x >> 22u));
    let q = _u64_shr_sticky(vec2<u32>(t.x << 10u, (t.y << 10u) | (t.x >> 22u)), distance);
    let opposite = ((x.y ^ y.y) >> 31u) != 0u;
    let sum = select(i64_add(p, q), i64_sub(p, q), opposite);
    // Normalise as far as the exponent lets us; a subnormal sum is exact.
    let shift = min(_u64_clz(sum), x_exponent);
    let packed = _f64_pack(x_exponent + 1u - shift, _u64_shl(sum, shift & 63u));
    let nonzero = vec2<u32>(packed.x, packed.y | (x.y & 0x80000000u));
    let finite = select(nonzero, vec2<u32>(0u, x.y & y.y & 0x80000000u), i64_eqz(sum));
    let x_top = _f64_top(x);
    let nan = x_top > 0x7ff00000u || (opposite && _f64_top(y) == 0x7ff00000u);
    return select(finite, select(x, vec2<u32>(0u, 0x7ff80000u), nan), x_top >= 0x7ff00000u);
}

fn f64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return f64_add(a, vec2<u32>(b.x, b.y ^ 0x80000000u));
}

fn f64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let a_top = _f64_top(a);
    let b_top = _f64_top(b);
    let sign = (a.y ^ b.y) & 0x80000000u;
    // Only the lesser is normalised: if both are subnormal, nothing of the product is left anyway.
    let swap = a_top < b_top;
    let x = select(a, b, swap);
    let y = _f64_normal(select(b, a, swap));
    let xs = _f64_significand(x);
    // Four digits of 14 bits each way: the sums of their products fit in 32 bits without a carry.
    let x3 = xs.y >> 7u;
    let x2 = ((xs.y << 7u) | (xs.x >> 25u)) & 0x3fffu;
    let x1 = (xs.x >> 11u) & 0x3fffu;
    let x0 = (xs.x << 3u) & 0x3fffu;
    let y3 = y.y >> 7u;
    let y2 = ((y.y << 7u) | (y.x >> 25u)) & 0x3fffu;
    let y1 = (y.x >> 11u) & 0x3fffu;
    let y0 = (y.x << 3u) & 0x3fffu;
    let p0 = x0 * y0;
    let p1 = x1 * y0 + x0 * y1 + (p0 >> 14u);
    let p2 = x2 * y0 + x1 * y1 + x0 * y2 + (p1 >> 14u);
    let p3 = x3 * y0 + x2 * y1 + x1 * y2 + x0 * y3 + (p2 >> 14u);
    let p4 = x3 * y1 + x2 * y2 + x1 * y3 + (p3 >> 14u);
    let p5 = x3 * y2 + x2 * y3 + (p4 >> 14u);
    let p6 = x3 * y3 + (p5 >> 14u);
    let sticky = min((p0 | p1 | p2 | p3) & 0x3fffu, 1u);
    let high = (p6 << 4u) | ((p5 >> 10u) & 0xfu);
    let product = vec2<u32>((p5 << 22u) | ((p4 & 0x3fffu) << 8u) | sticky, high);
    let shift = 1u - (high >> 31u);
    let exponent = bitcast<i32>(max((x.y >> 20u) & 0x7ffu, 1u) + y.z - 1022u - shift);
    let packed = _f64_round(exponent, _u64_shl(product, shift));
    let greater = max(a_top, b_top);
    let zero = min(a_top, b_top) == 0u;
    let finite = select(packed, vec2<u32>(0u), zero);
    let value = select(finite, vec2<u32>(0u, 0x7ff00000u), greater >= 0x7ff00000u);
    let nan = greater > 0x7ff00000u || (zero && greater == 0x7ff00000u);
    return select(vec2<u32>(value.x, value.y | sign), vec2<u32>(0u, 0x7ff80000u), nan);
}

fn f64_div(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let sign = (a.y ^ b.y) & 0x80000000u;
    let x = _f64_normal(a);
    let y = _f64_normal(b);
    // Two digits, of 29 and 27 bits. The first is a little too small; the second leaves the quotient
    // within one unit of the true one, so that the sign of the remainder is all that rounding needs.
    let reciprocal = _reciprocal(max((y.y << 11u) | (y.x >> 21u), 0x80000000u)) - 2u;
    let digit1 = _u32_mul_wide((x.y << 11u) | (x.x >> 21u), reciprocal).y >> 3u;
    let shifted1 = vec2<u32>(x.x << 28u, (x.y << 28u) | (x.x >> 4u));
    let rest1 = i64_sub(shifted1, _u64_mul_u32(y.xy, digit1));
    let digit2 = (_u32_mul_wide((rest1.y << 10u) | (rest1.x >> 22u), reciprocal).y + 8u) >> 4u;
    let shifted2 = vec2<u32>(rest1.x << 26u, (rest1.y << 26u) | (rest1.x >> 6u));
    let rest2 = i64_sub(shifted2, _u64_mul_u32(y.xy, digit2));
    let quotient = i64_add(vec2<u32>(digit1 << 26u, digit1 >> 6u), vec2<u32>(digit2, 0u));
    let scaled = _u64_nudge(vec2<u32>(quotient.x << 9u, (quotient.y << 9u) | (quotient.x >> 23u)), rest2);
    let shift = 1u - (scaled.y >> 31u);
    let exponent = bitcast<i32>(x.z - y.z + 1023u - shift);
    let packed = _f64_round(exponent, _u64_shl(scaled, shift));
    let a_top = _f64_top(a);
    let b_top = _f64_top(b);
    let infinite = a_top == 0x7ff00000u || b_top == 0u;
    let zero = a_top == 0u || b_top == 0x7ff00000u;
    let finite = select(packed, vec2<u32>(0u), zero);
    let value = select(finite, vec2<u32>(0u, 0x7ff00000u), infinite);
    let nan = max(a_top, b_top) > 0x7ff00000u || (infinite && zero);
    return select(vec2<u32>(value.x, value.y | sign), vec2<u32>(0u, 0x7ff80000u), nan);
}

fn f64_sqrt(a: vec2<u32>) -> vec2<u32> {
    let x = _f64_normal(a);
    let odd = (x.z & 1u) == 0u;
    let m = max((x.y << 11u) | (x.x >> 21u), 0x80000000u);
    let inverse = _inverse_root(m, odd);
    // The square has 62 bits after the point; the root gets 31 of them, a little too small, then 54,
    // within one unit of the true root: the sign of the remainder is all that rounding needs.
    let even_square = vec2<u32>(x.x << 10u, (x.y << 10u) | (x.x >> 22u));
    let square = select(even_square, _u64_shl(even_square, 1u), odd);
    let product = _u32_mul_wide(square.y, inverse);
    let root1 = (product.y << 1u) | (product.x >> 31u);
    let rest1 = i64_sub(square, _u32_mul_wide(root1, root1));
    let step = (_u32_mul_wide((rest1.y << 27u) | (rest1.x >> 5u), inverse).y + 8u) >> 4u;
    let root = i64_add(vec2<u32>(root1 << 23u, root1 >> 9u), vec2<u32>(step, 0u));
    let rest = i64_sub(vec2<u32>(0u, square.x << 14u), i64_mul(root, root));
    let scaled = _u64_nudge(vec2<u32>(root.x << 9u, (root.y << 9u) | (root.x >> 23u)), rest);
    let finite = _f64_pack(bitcast<u32>(bitcast<i32>(x.z + 1023u) >> 1u), scaled);
    let top = _f64_top(a);
    let itself = top == 0u || (a.y == 0x7ff00000u && a.x == 0u);
    let nan = top > 0x7ff00000u || (a.y >> 31u) != 0u;
    return select(select(finite, vec2<u32>(0u, 0x7ff80000u), nan), a, itself);
}

fn f64_ceil(a: vec2<u32>) -> vec2<u32> {
    return _f64_to_integral(a, (a.y >> 31u) == 0u, false);
}

fn f64_floor(a: vec2<u32>) -> vec2<u32> {
    return _f64_to_integral(a, (a.y >> 31u) != 0u, false);
}

fn f64_trunc(a: vec2<u32>) -> vec2<u32> {
    return _f64_to_integral(a, false, false);
}

fn f64_nearest(a: vec2<u32>) -> vec2<u32> {
    return _f64_to_integral(a, false, true);
}

// The integral value next to a: towards zero, or away from it, or the nearest, ties to even.
fn _f64_to_integral(a: vec2<u32>, away: bool, nearest: bool) -> vec2<u32> {
    let magnitude = f64_abs(a);
    let exponent = magnitude.y >> 20u;
    let small = exponent < 1023u;
    let unit = _u64_shl(vec2<u32>(1u, 0u), u32(clamp(1075 - i32(exponent), 0, 52)));
    let mask = i64_sub(unit, vec2<u32>(1u, 0u));
    let fraction = magnitude & mask;
    let even_gap = u32(i64_eqz(magnitude & unit));
    let doubled = vec2<u32>(fraction.x << 1u, (fraction.y << 1u) | (fraction.x >> 31u));
    let half_or_more = !i64_lt_u(doubled, i64_add(unit, vec2<u32>(even_gap, 0u)));
    let above = select(away && !i64_eqz(fraction), half_or_more, nearest);
    let whole = magnitude - fraction;
    let integral = select(whole, i64_add(whole, unit), above);
    let top = _f64_top(a);
    let one = select(away && top != 0u, top > 0x3fe00000u, nearest);
    let value = select(integral, vec2<u32>(0u, select(0u, 0x3ff00000u, one)), small);
    let signed = vec2<u32>(value.x, value.y | (a.y & 0x80000000u));
    return select(signed, vec2<u32>(0u, 0x7ff80000u), top > 0x7ff00000u);
}

fn _f64_top(a: vec2<u32>) -> u32 {
    return (a.y & 0x7fffffffu) | min(a.x, 1u);
}

fn _f64_unordered(a: vec2<u32>, b: vec2<u32>) -> bool {
    return max(_f64_top(a), _f64_top(b)) > 0x7ff00000u;
}

// Ordered as the numbers are, by signed comparison, both zeros alike.
fn _f64_value(a: vec2<u32>) -> vec2<u32> {
    return _u64_negate_if(f64_abs(a), (a.y >> 31u) != 0u);
}

// Ordered as the numbers are, by signed comparison, -0 before +0.
fn _f64_order(a: vec2<u32>) -> vec2<u32> {
    let flip = bitcast<u32>(bitcast<i32>(a.y) >> 31u);
    return vec2<u32>(a.x ^ flip, a.y ^ (flip & 0x7fffffffu));
}

fn _f64_significand(a: vec2<u32>) -> vec2<u32> {
    let hidden = select(0u, 0x100000u, (a.y & 0x7ff00000u) != 0u);
    return vec2<u32>(a.x, (a.y & 0xfffffu) | hidden);
}

// The significand, shifted so that its leading one is bit 52 (0 for zero), and the biased exponent
// that goes with it, which a subnormal takes to 0 or below.
fn _f64_normal(a: vec2<u32>) -> vec3<u32> {
    let significand = _f64_significand(a);
    let shift = _u64_clz(significand) - 11u;
    return vec3<u32>(_u64_shl(significand, shift), max((a.y >> 20u) & 0x7ffu, 1u) - shift);
}

// The magnitude's bits: the significand has its leading one in bit 63, or the exponent is 1 and the
// number subnormal; its low 11 bits are rounded off. Overflow gives infinity.
fn _f64_pack(exponent: u32, significand: vec2<u32>) -> vec2<u32> {
    let low = (significand.x >> 11u) | (significand.y << 21u);
    let up = ((significand.x & 0x7ffu) + 0x3ffu + (low & 1u)) >> 11u;
    let rounded = low + up;
    let high = ((exponent - 1u) << 20u) + (significand.y >> 11u) + u32(rounded < up);
    return select(vec2<u32>(rounded, high), vec2<u32>(0u, 0x7ff00000u), high >= 0x7ff00000u);
}

// The same for any exponent; the significand is not 0.
fn _f64_round(exponent: i32, significand: vec2<u32>) -> vec2<u32> {
    let shifted = _u64_shr_sticky(significand, u32(clamp(1 - exponent, 0, 63)));
    return _f64_pack(u32(clamp(exponent, 1, 2047)), shifted);
}

// What is below a by less than its lowest bits tell: a little less if the rest is negative, a little
// more if it is positive.
fn _u64_nudge(a: vec2<u32>, rest: vec2<u32>) -> vec2<u32> {
    let negative = (rest.y >> 31u) != 0u;
    return select(vec2<u32>(a.x | min(rest.x | rest.y, 1u), a.y), i64_sub(a, vec2<u32>(1u, 0u)), negative);
}
