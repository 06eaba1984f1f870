"""Start one demo agent: `python -m orchestrator.demo.agents {reader | aggregator | reporter}`."""

import sys
from typing import Final

from orchestrator.demo.agents.aggregator import aggregate
from orchestrator.demo.agents.host import Skill, serve
from orchestrator.demo.agents.reader import read
from orchestrator.demo.agents.reporter import report

SKILLS: Final = {
    "reader": Skill("reader", "Reads and checks a CSV file.", read),
    "aggregator": Skill("aggregator", "Summarises a table, per column and per group.", aggregate),
    "reporter": Skill("reporter", "Writes a Markdown report.", report),
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case [name] if name in SKILLS:
            serve(SKILLS[name])
        case _:
            sys.exit(f"usage: python -m orchestrator.demo.agents {{{' | '.join(SKILLS)}}}")
