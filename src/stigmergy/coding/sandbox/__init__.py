"""Where an agent works: the Sandbox seam and one module per kind."""
