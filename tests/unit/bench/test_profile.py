"""Where a profile says that the CPU went."""

from bench import profile_command

HOME = "/somewhere/orchestrator"
LIB = "/venv/lib/python3.11/site-packages"


def test_samples_are_counted_by_the_innermost_layer_of_ours_and_by_function() -> None:
    stacks = [
        f"main (m.py:1);live ({HOME}/actors/run_actor.py:7);dumps ({HOME}/json_text.py:4) 2",
        f"main (m.py:1);write ({HOME}/store/journal.py:9);fetch ({LIB}/asyncpg/conn.py:3) 6",
        f"main (m.py:1);start ({LIB}/aiohttp/web_protocol.py:5) 1",
        "main (m.py:1);select (selectors.py:5) 1",
        "this is no stack",
    ]

    shown = [line.split(maxsplit=1) for line in profile_command.lines(stacks)]

    layers = [line for line in shown if len(line) > 1 and "(" not in line[1].replace("(no", "")]
    assert ["60.0%", "store - asyncpg"] in layers
    assert ["20.0%", "json_text"] in layers
    assert ["10.0%", "(no layer) - aiohttp"] in shown
    assert ["10.0%", "(no layer) - python"] in shown
    assert ["60.0%", "fetch (asyncpg/conn.py)"] in shown
    assert ["20.0%", "dumps (orchestrator/json_text.py)"] in shown


def test_without_samples_nothing_is_divided() -> None:
    assert not [line for line in profile_command.lines([]) if "%" in line]
