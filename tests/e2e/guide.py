"""The guide's snippets, as they stand in docs/api-guide.md, and the ids that they use."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).parent.parent.parent / "docs/api-guide.md"

AGENT_ID = "123e4567-e89b-12d3-a456-426614174000"
WORKFLOW_ID = "456e7890-e89b-12d3-a456-426614174000"
RUN_ID = "run-789e0123-e89b-12d3-a456-426614174000"
PORT = 8000  # literally, in every snippet

_PART = re.compile(r"^#{2,4} ([^\n]*)$|^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of bash; `name` is its heading, numbered where there are several."""

    name: str
    text: str


def snippets() -> Iterator[Snippet]:
    """Return every block of bash that is whole: an ellipsis stands for what a reader fills in."""
    heading = ""
    seen: Counter[str] = Counter()
    for title, text in _PART.findall(GUIDE.read_text(encoding="utf-8")):
        if title:
            heading = title
            continue
        seen[heading] += 1
        # What a script says while it works ("Retrying run...") leaves nothing out.
        if not any("..." in line for line in text.splitlines() if "echo" not in line):
            number = seen[heading]
            yield Snippet(heading if number == 1 else f"{heading} ({number})", text)
