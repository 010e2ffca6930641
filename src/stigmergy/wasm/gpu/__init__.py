"""The GPU engine: WebAssembly compiled to WGSL and run by wgpu."""
