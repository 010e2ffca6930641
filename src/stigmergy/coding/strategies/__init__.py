"""What hives can be set to do: a TOML file for each strategy, read by `strategy.py`."""
