"""Git as a typed, hardened layer: one process a question, never a checkout to ask it."""
