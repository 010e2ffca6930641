"""Random modules, valid by construction, and what runs them on two engines and compares."""
