"""WebAssembly agents: one module run by many, on the CPU and the GPU."""
