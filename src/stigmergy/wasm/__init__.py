"""WebAssembly agents: thousands of them in one dispatch, on the CPU and on the GPU."""
