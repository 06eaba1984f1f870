"""The demo's command line, before anything starts."""

import importlib.util

import pytest

from orchestrator import demo


def test_without_the_sdk_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    code = demo.main([])

    assert code == 1
    assert "pip install 'agent-orchestrator[demo]'" in capsys.readouterr().err


def test_a_server_elsewhere_needs_agents_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--server", "http://127.0.0.1:1"])

    assert "--server and --agents go together" in capsys.readouterr().err
