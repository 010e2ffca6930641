"""The parts of the contract of stores; `stigmergy.testing.stores` puts them together."""
