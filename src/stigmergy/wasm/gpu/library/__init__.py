"""The arithmetic of WebAssembly in WGSL: the instructions that no plain u32 operator expresses.

Each function bears its instruction's name with `_` for `.`. An i32 or f32 is a `u32`, an i64 or f64
a `vec2<u32>` with the low word first, floats as their bits. Comparisons and `eqz` give a `bool`.
Nothing here traps: division and truncation expect operands that were checked, and
`iNN_trunc_fMM_x_trap` is the check of a truncation (0 fine, 1 NaN, 2 out of range).

Floats come in two kinds. `strict` computes with integers alone and is exact on every device: to
nearest, ties to even, with subnormals, signed zeros and infinities; a NaN that is computed is the
canonical quiet one, as wasmtime gives it with `cranelift_nan_canonicalization`. `fast` leaves the
arithmetic, rounding and comparison of f32, and its conversion from i32, to the hardware: NaN bits,
subnormals and the last bit may differ, and WGSL lets a device treat infinities and NaNs as it
likes. What takes or gives f64, and what gives integers, is the same in both.
"""

from stigmergy.wasm.gpu.library.linking import SIGNATURES, Floats, Signature, link

__all__ = ["SIGNATURES", "Floats", "Signature", "link"]
