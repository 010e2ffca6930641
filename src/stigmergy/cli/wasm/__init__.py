"""`stig wasm`: WebAssembly agents from the shell."""

from stigmergy.cli.wasm.app import wasm

__all__ = ["wasm"]
