// f32 instructions by the hardware's floats, linked instead of those of the same names where speed is
// wanted more than conformance: what they make of NaN bits, subnormals, the last bit and, on some
// GPUs, of infinities and NaNs at all is up to the device.

fn f32_add(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
}

fn f32_sub(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) - bitcast<f32>(b));
}

fn f32_mul(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) * bitcast<f32>(b));
}

fn f32_div(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) / bitcast<f32>(b));
}

fn f32_sqrt(a: u32) -> u32 {
    return bitcast<u32>(sqrt(bitcast<f32>(a)));
}

fn f32_ceil(a: u32) -> u32 {
    return bitcast<u32>(ceil(bitcast<f32>(a)));
}

fn f32_floor(a: u32) -> u32 {
    return bitcast<u32>(floor(bitcast<f32>(a)));
}

fn f32_trunc(a: u32) -> u32 {
    return bitcast<u32>(trunc(bitcast<f32>(a)));
}

fn f32_nearest(a: u32) -> u32 {
    return bitcast<u32>(round(bitcast<f32>(a)));
}

fn f32_eq(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) == bitcast<f32>(b);
}

// Not `!=`, which is false for NaNs on some devices.
fn f32_ne(a: u32, b: u32) -> bool {
    return !(bitcast<f32>(a) == bitcast<f32>(b));
}

fn f32_lt(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) < bitcast<f32>(b);
}

fn f32_gt(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) > bitcast<f32>(b);
}

fn f32_le(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) <= bitcast<f32>(b);
}

fn f32_ge(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) >= bitcast<f32>(b);
}

fn f32_convert_i32_s(a: u32) -> u32 {
    return bitcast<u32>(f32(bitcast<i32>(a)));
}

fn f32_convert_i32_u(a: u32) -> u32 {
    return bitcast<u32>(f32(a));
}
