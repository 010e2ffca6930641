"""WebAssembly modules as values: read, checked, decoded."""
