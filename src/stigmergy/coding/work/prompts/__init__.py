"""What agents are told: Markdown files, read by `stigmergy.coding.work.briefing`."""
