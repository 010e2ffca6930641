"""The `stig` command."""

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from stigmergy.cli.process import run_app

    run_app()
