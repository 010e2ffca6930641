"""The gate: python3 -m unittest discover -s tests -t ."""
