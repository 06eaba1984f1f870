"""Start one demo agent: `python -m orchestrator.demo.agents {reader | aggregator | reporter}`.

As it stands it belongs to a demo on this machine; with `--listen` and `--url` it serves for itself,
as in a container.
"""

import argparse
from collections.abc import Sequence
from typing import Final

from orchestrator.demo.agents.aggregator import aggregate
from orchestrator.demo.agents.host import Place, Skill, serve
from orchestrator.demo.agents.reader import read
from orchestrator.demo.agents.reporter import report

SKILLS: Final = {
    "reader": Skill("reader", "Reads and checks a CSV file.", read),
    "aggregator": Skill("aggregator", "Summarises a table, per column and per group.", aggregate),
    "reporter": Skill("reporter", "Writes a Markdown report.", report),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Serve one agent until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.demo.agents")
    parser.add_argument("agent", choices=SKILLS)
    parser.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help="serve here, until SIGTERM"
    )
    parser.add_argument("--url", help="the url that others reach it at")
    arguments = parser.parse_args(argv)
    if (arguments.listen is None) != (arguments.url is None):
        parser.error("--listen and --url go together")
    place = None
    if arguments.listen:
        host, port = arguments.listen
        place = Place(host, port, arguments.url)
    serve(SKILLS[arguments.agent], place)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    main()
