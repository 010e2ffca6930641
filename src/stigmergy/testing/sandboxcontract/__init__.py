"""The parts of the contract of sandboxes; `stigmergy.testing.sandboxes` puts them together."""
