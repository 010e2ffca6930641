"""The board over HTTP: an API for workers in any language, event streams, and the dashboard.

Async stands here alone; the board stays synchronous behind `bridge`.
"""
