"""One task in one sandbox: what goes in, what is watched, what comes out."""
