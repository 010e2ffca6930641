"""The CPU engine: wasmtime, by its C interface."""
