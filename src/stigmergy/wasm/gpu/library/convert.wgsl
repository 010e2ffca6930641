// Conversions between integers and floats, and between the floats, by integers alone. The three
// families of truncations:
//
//   iNN_trunc_fMM_x_trap  why the instruction would trap: 0 not at all, 1 NaN, 2 out of range
//   iNN_trunc_fMM_x       the value, if it would not; some value otherwise
//   iNN_trunc_sat_fMM_x   the value, saturated; 0 for NaN

// --- to integers ---

fn i32_trunc_f32_s_trap(a: u32) -> u32 {
    return _f32_trunc_trap(a, 0x4f000000u, 0x4f000001u);
}

fn i32_trunc_f32_s(a: u32) -> u32 {
    let magnitude = _f32_to_u32(a);
    return select(magnitude, 0u - magnitude, (a >> 31u) != 0u);
}

fn i32_trunc_sat_f32_s(a: u32) -> u32 {
    let trap = i32_trunc_f32_s_trap(a);
    let bound = select(0x7fffffffu, 0x80000000u, (a >> 31u) != 0u);
    return select(select(i32_trunc_f32_s(a), bound, trap == 2u), 0u, trap == 1u);
}

fn i32_trunc_f32_u_trap(a: u32) -> u32 {
    return _f32_trunc_trap(a, 0x4f800000u, 0x3f800000u);
}

fn i32_trunc_f32_u(a: u32) -> u32 {
    return _f32_to_u32(a);
}

fn i32_trunc_sat_f32_u(a: u32) -> u32 {
    let trap = i32_trunc_f32_u_trap(a);
    let bound = select(0xffffffffu, 0u, (a >> 31u) != 0u);
    return select(select(i32_trunc_f32_u(a), bound, trap == 2u), 0u, trap == 1u);
}

fn i32_trunc_f64_s_trap(a: vec2<u32>) -> u32 {
    return _f64_trunc_trap(a, vec2<u32>(0u, 0x41e00000u), vec2<u32>(0x00200000u, 0x41e00000u));
}

fn i32_trunc_f64_s(a: vec2<u32>) -> u32 {
    let magnitude = _f64_to_u32(a);
    return select(magnitude, 0u - magnitude, (a.y >> 31u) != 0u);
}

fn i32_trunc_sat_f64_s(a: vec2<u32>) -> u32 {
    let trap = i32_trunc_f64_s_trap(a);
    let bound = select(0x7fffffffu, 0x80000000u, (a.y >> 31u) != 0u);
    return select(select(i32_trunc_f64_s(a), bound, trap == 2u), 0u, trap == 1u);
}

fn i32_trunc_f64_u_trap(a: vec2<u32>) -> u32 {
    return _f64_trunc_trap(a, vec2<u32>(0u, 0x41f00000u), vec2<u32>(0u, 0x3ff00000u));
}

fn i32_trunc_f64_u(a: vec2<u32>) -> u32 {
    return _f64_to_u32(a);
}

fn i32_trunc_sat_f64_u(a: vec2<u32>) -> u32 {
    let trap = i32_trunc_f64_u_trap(a);
    let bound = select(0xffffffffu, 0u, (a.y >> 31u) != 0u);
    return select(select(i32_trunc_f64_u(a), bound, trap == 2u), 0u, trap == 1u);
}

fn i64_trunc_f32_s_trap(a: u32) -> u32 {
    return _f32_trunc_trap(a, 0x5f000000u, 0x5f000001u);
}

fn i64_trunc_f32_s(a: u32) -> vec2<u32> {
    return _u64_negate_if(_f32_to_u64(a), (a >> 31u) != 0u);
}

fn i64_trunc_sat_f32_s(a: u32) -> vec2<u32> {
    let trap = i64_trunc_f32_s_trap(a);
    let bound = select(vec2<u32>(0xffffffffu, 0x7fffffffu), vec2<u32>(0u, 0x80000000u), (a >> 31u) != 0u);
    return select(select(i64_trunc_f32_s(a), bound, trap == 2u), vec2<u32>(0u), trap == 1u);
}

fn i64_trunc_f32_u_trap(a: u32) -> u32 {
    return _f32_trunc_trap(a, 0x5f800000u, 0x3f800000u);
}

fn i64_trunc_f32_u(a: u32) -> vec2<u32> {
    return _f32_to_u64(a);
}

fn i64_trunc_sat_f32_u(a: u32) -> vec2<u32> {
    let trap = i64_trunc_f32_u_trap(a);
    let bound = select(vec2<u32>(0xffffffffu), vec2<u32>(0u), (a >> 31u) != 0u);
    return select(select(i64_trunc_f32_u(a), bound, trap == 2u), vec2<u32>(0u), trap == 1u);
}

fn i64_trunc_f64_s_trap(a: vec2<u32>) -> u32 {
    return _f64_trunc_trap(a, vec2<u32>(0u, 0x43e00000u), vec2<u32>(1u, 0x43e00000u));
}

fn i64_trunc_f64_s(a: vec2<u32>) -> vec2<u32> {
    return _u64_negate_if(_f64_to_u64(a), (a.y >> 31u) != 0u);
}

fn i64_trunc_sat_f64_s(a: vec2<u32>) -> vec2<u32> {
    let trap = i64_trunc_f64_s_trap(a);
    let bound = select(vec2<u32>(0xffffffffu, 0x7fffffffu), vec2<u32>(0u, 0x80000000u), (a.y >> 31u) != 0u);
    return select(select(i64_trunc_f64_s(a), bound, trap == 2u), vec2<u32>(0u), trap == 1u);
}

fn i64_trunc_f64_u_trap(a: vec2<u32>) -> u32 {
    return _f64_trunc_trap(a, vec2<u32>(0u, 0x43f00000u), vec2<u32>(0u, 0x3ff00000u));
}

fn i64_trunc_f64_u(a: vec2<u32>) -> vec2<u32> {
    return _f64_to_u64(a);
}

fn i64_trunc_sat_f64_u(a: vec2<u32>) -> vec2<u32> {
    let trap = i64_trunc_f64_u_trap(a);
    let bound = select(vec2<u32>(0xffffffffu), vec2<u32>(0u), (a.y >> 31u) != 0u);
    return select(select(i64_trunc_f64_u(a), bound, trap == 2u), vec2<u32>(0u), trap == 1u);
}

// The limits are the least magnitudes of either sign that are out of range.
fn _f32_trunc_trap(a: u32, positive_limit: u32, negative_limit: u32) -> u32 {
    let magnitude = a & 0x7fffffffu;
    let limit = select(positive_limit, negative_limit, (a >> 31u) != 0u);
    return select(select(0u, 2u, magnitude >= limit), 1u, magnitude > 0x7f800000u);
}

fn _f64_trunc_trap(a: vec2<u32>, positive_limit: vec2<u32>, negative_limit: vec2<u32>) -> u32 {
    let limit = select(positive_limit, negative_limit, (a.y >> 31u) != 0u);
    let beyond = !i64_lt_u(f64_abs(a), limit);
    return select(select(0u, 2u, beyond), 1u, _f64_top(a) > 0x7ff00000u);
}

// What is left of the magnitude when its fraction goes; it must be less than 2^32, or 2^64.
fn _f32_to_u32(a: u32) -> u32 {
    let exponent = (a >> 23u) & 0xffu;
    let significand = (a << 8u) | 0x80000000u;
    return select(significand >> ((158u - exponent) & 31u), 0u, exponent < 127u);
}

fn _f32_to_u64(a: u32) -> vec2<u32> {
    let exponent = (a >> 23u) & 0xffu;
    let significand = vec2<u32>(0u, (a << 8u) | 0x80000000u);
    return select(_u64_shr(significand, (190u - exponent) & 63u), vec2<u32>(0u), exponent < 127u);
}

fn _f64_to_u32(a: vec2<u32>) -> u32 {
    let exponent = (a.y >> 20u) & 0x7ffu;
    let significand = (a.y << 11u) | (a.x >> 21u) | 0x80000000u;
    return select(significand >> ((1054u - exponent) & 31u), 0u, exponent < 1023u);
}

fn _f64_to_u64(a: vec2<u32>) -> vec2<u32> {
    let exponent = (a.y >> 20u) & 0x7ffu;
    let significand = vec2<u32>(a.x << 11u, (a.y << 11u) | (a.x >> 21u) | 0x80000000u);
    return select(_u64_shr(significand, (1086u - exponent) & 63u), vec2<u32>(0u), exponent < 1023u);
}

// --- from integers ---

fn f32_convert_i32_s(a: u32) -> u32 {
    return (a & 0x80000000u) | f32_convert_i32_u(_u32_abs(a));
}

fn f32_convert_i32_u(a: u32) -> u32 {
    let shift = countLeadingZeros(a);
    return select(_f32_pack(158u - shift, a << (shift & 31u)), 0u, a == 0u);
}

fn f32_convert_i64_s(a: vec2<u32>) -> u32 {
    return (a.y & 0x80000000u) | f32_convert_i64_u(_u64_abs(a));
}

fn f32_convert_i64_u(a: vec2<u32>) -> u32 {
    let shift = _u64_clz(a);
    let significand = _u64_shl(a, shift & 63u);
    let packed = _f32_pack(190u - shift, significand.y | min(significand.x, 1u));
    return select(packed, 0u, i64_eqz(a));
}

fn f64_convert_i32_s(a: u32) -> vec2<u32> {
    let magnitude = f64_convert_i32_u(_u32_abs(a));
    return vec2<u32>(magnitude.x, magnitude.y | (a & 0x80000000u));
}

fn f64_convert_i32_u(a: u32) -> vec2<u32> {
    let shift = countLeadingZeros(a);
    let significand = a << (shift & 31u);
    // The leading one adds 1 to the exponent.
    let high = ((1053u - shift) << 20u) + (significand >> 11u);
    return select(vec2<u32>(significand << 21u, high), vec2<u32>(0u), a == 0u);
}

fn f64_convert_i64_s(a: vec2<u32>) -> vec2<u32> {
    let magnitude = f64_convert_i64_u(_u64_abs(a));
    return vec2<u32>(magnitude.x, magnitude.y | (a.y & 0x80000000u));
}

fn f64_convert_i64_u(a: vec2<u32>) -> vec2<u32> {
    let shift = _u64_clz(a);
    let packed = _f64_pack(1086u - shift, _u64_shl(a, shift & 63u));
    return select(packed, vec2<u32>(0u), i64_eqz(a));
}

// --- between floats ---

fn f32_demote_f64(a: vec2<u32>) -> u32 {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu) - 896;
    let significand = (a.y << 11u) | (a.x >> 21u) | min(a.x << 11u, 1u) | 0x80000000u;
    let top = _f64_top(a);
    // A subnormal's leading one is not there; what remains of it is 0 all the same.
    let finite = _f32_round(exponent, significand);
    let value = (a.y & 0x80000000u) | select(finite, 0x7f800000u, top == 0x7ff00000u);
    return select(value, 0x7fc00000u, top > 0x7ff00000u);
}

fn f64_promote_f32(a: u32) -> vec2<u32> {
    let x = _f32_normal(a);
    let magnitude = a & 0x7fffffffu;
    // The leading one adds 1 to the exponent.
    let finite = vec2<u32>(x.x << 29u, ((x.y + 895u) << 20u) + (x.x >> 3u));
    let value = select(finite, vec2<u32>(0u), magnitude == 0u);
    let bounded = select(value, vec2<u32>(0u, 0x7ff00000u), magnitude == 0x7f800000u);
    let signed = vec2<u32>(bounded.x, bounded.y | (a & 0x80000000u));
    return select(signed, vec2<u32>(0u, 0x7ff80000u), magnitude > 0x7f800000u);
}
