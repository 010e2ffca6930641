"""The program that runs inside a sandbox, around one agent doing one task.

It reads `$STIG_WORKSPACE/task.json`, tells what happens as JSON lines on stdout (`progress`),
works in `$STIG_WORKSPACE/repo`, and always leaves `$STIG_WORKSPACE/result.json`.

Run it as `python -I -S -B <this folder>`. It needs Python 3.11 and git and imports the standard
library only, so the folder can be copied into any container. There the package has the folder's
name and not `stigmergy.coding.work.inside`, which is why its modules import each other relatively.
Whatever is only needed by the `own` agent is imported when that agent starts.
"""
