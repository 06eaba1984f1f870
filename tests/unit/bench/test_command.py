"""The command line of `bench`, before anything starts."""

import pytest

from bench.__main__ import main


@pytest.mark.parametrize("command", [[], ["up"], ["load"], ["history"]])
def test_help_names_the_options(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])

    assert ended.value.code == 0
    said = capsys.readouterr().out
    wanted = {
        "": ["up", "load", "history"],
        "up": ["--orchestrators"],
        "load": ["--rate", "--html"],
        "history": ["--runs", "--days", "--html"],
    }
    assert all(word in said for word in wanted["".join(command)])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rate", "0"], "must be more than 0"),
        (["--rate", "5", "--concurrency", "5"], "not allowed with"),
        (["--concurrency", "0"], "must be at least 1"),
        (["--duration", "nan"], "must be more than 0"),
        (["--input", "[1]"], "must be a JSON object"),
        (["--input", "@/nowhere"], "cannot be read"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["load", *options])

    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_another_host_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["load", "--url", "http://10.1.2.3"]) == 2
    assert "--i-own-this-host" in capsys.readouterr().err
