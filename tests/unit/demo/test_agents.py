"""The demo agents' command line, before anything is served."""

import pytest

from orchestrator.demo.agents import __main__ as command
from orchestrator.demo.agents.host import Place, Skill


def test_an_agent_that_listens_for_others_needs_the_url_they_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["reader", "--listen", "0.0.0.0:9000"])

    assert "--listen and --url go together" in capsys.readouterr().err


def test_it_is_served_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[Skill, Place | None]] = []
    monkeypatch.setattr(command, "serve", lambda *given: served.append(given))

    command.main(["reporter", "--listen", "127.0.0.1:9000", "--url", "http://here:9000"])

    assert served == [(command.SKILLS["reporter"], Place("127.0.0.1", 9000, "http://here:9000"))]
