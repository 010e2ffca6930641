"""A compiler from WebAssembly to WGSL, and what runs it."""
