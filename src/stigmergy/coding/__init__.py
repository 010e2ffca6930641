"""A swarm that writes software: plan, work in sandboxes, prove, merge."""
