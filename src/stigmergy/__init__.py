"""Stigmergy."""
