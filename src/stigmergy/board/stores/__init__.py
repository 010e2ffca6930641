"""Implementations of the Store seam."""
