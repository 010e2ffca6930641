"""The addresses under /api/v1, one module for each part of the board."""
