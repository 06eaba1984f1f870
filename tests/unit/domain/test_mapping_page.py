"""The examples of docs/api.md are true."""

import json
import re
from pathlib import Path

import pytest

from orchestrator.domain import mapping

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
INPUT = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
OUTPUTS = {"read": json.loads(re.findall(r"whose output was `(.+?)`:", PAGE)[0])}
LINES = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.partition("<!-- mappings:")[2], re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(LINES) > 10


@pytest.mark.parametrize(("written", "resolved"), LINES)
def test_a_mapping_becomes_what_the_page_says(written: str, resolved: str) -> None:
    template = mapping.compile(json.loads(written), OUTPUTS)

    found = mapping.resolve(template, INPUT, OUTPUTS)

    assert json.dumps(found) == json.dumps(json.loads(resolved))
