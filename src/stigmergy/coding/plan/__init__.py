"""From an objective, a features file or a list of paths to tasks on the board."""
