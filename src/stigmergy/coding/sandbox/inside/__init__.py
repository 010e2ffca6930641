"""What starts inside or around a sandbox: plain Python without site-packages, quick to start.

These modules run as `python -I -S`. They import only what costs no start-up time (no `socket`,
`signal`, `json`, `subprocess`), because every task of a run pays for it.
"""
