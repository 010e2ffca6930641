"""From a branch that claims to be done to a commit on main that is proved."""
