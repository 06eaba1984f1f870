"""The demo agents and the guided run of `make demo`."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code: 0, or 1 when its run did not complete."""
    from orchestrator.demo import command  # noqa: PLC0415 - the agents start without the driver

    return command.main(argv)
