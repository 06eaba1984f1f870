"""Writes what is made from the settings: config/default.toml and the README's table.

`python -m scripts.settings_pages`; with --check it changes nothing and fails where they differ.
"""

import json
import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from orchestrator.settings import PREFIX, Settings

TOP = Path(__file__).resolve().parent.parent
BEGIN = "<!-- settings: made by scripts/settings_pages.py -->"
END = "<!-- /settings -->"

EXAMPLES = {  # for settings that are unset by default
    "database_url": "postgresql://orchestrator@db.example.com:5432/orchestrator",
    "kafka_bootstrap_servers": "kafka-1.example.com:9092,kafka-2.example.com:9092",
    "kafka_group": "orchestrator-production",
    "kafka_sasl_username": "orchestrator",
    "kafka_sasl_password": "<password>",
    "kafka_ssl_cafile": "/etc/orchestrator/ca.pem",
    "kafka_ssl_certfile": "/etc/orchestrator/client.pem",
    "kafka_ssl_keyfile": "/etc/orchestrator/client.key",
    "data_dir": "/var/lib/orchestrator",
    "secret_keys": "<new key>,<old key>",
    "pg_bin": "/usr/lib/postgresql/15/bin",
    "public_url": "https://orchestrator.example.com",
    "retention_days": 90,
}

HEAD = """\
# Every setting with its default; one without a default is commented out, with an example.
#
# ORCHESTRATOR_CONFIG names the file to read, such as a copy of this one; a variable
# ORCHESTRATOR_<NAME> wins over the file. Made by scripts/settings_pages.py from
# orchestrator/settings.py.
"""


def default_toml() -> str:
    """Return config/default.toml."""
    blocks = [HEAD]
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        given = EXAMPLES[name] if default is None else default
        line = f"{name} = {json.dumps(given)}"
        blocks.append(f"# {_about(field)}\n{'# ' if default is None else ''}{line}\n")
    return "\n".join(blocks)


def table() -> str:
    """Return the README's table."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_shown(field)} | {_about(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what it is |", "| --- | --- | --- |", *rows])


def _shown(field: FieldInfo) -> str:
    default = field.get_default()
    return (
        ""
        if default is None
        else f"`{default if isinstance(default, str) else json.dumps(default)}`"
    )


def _about(field: FieldInfo) -> str:
    """Return the description and the bounds."""
    if not field.description:
        raise SystemExit(f"a setting has no description: {field!r}")
    bounds = {
        "at least ": _bound(field, "ge"),
        "more than ": _bound(field, "gt"),
        "at most ": _bound(field, "le"),
        "less than ": _bound(field, "lt"),
    }
    words = ", ".join(f"{word}{bound:,}" for word, bound in bounds.items() if bound is not None)
    return field.description + (f" ({words.capitalize()}.)" if words else "")


def _bound(field: FieldInfo, kind: str) -> int | float | None:
    return next((getattr(rule, kind) for rule in field.metadata if hasattr(rule, kind)), None)


def pages() -> dict[Path, str]:
    """Return each page and what it must contain."""
    readme = TOP / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        TOP / "config" / "default.toml": default_toml(),
        readme: f"{before}{BEGIN}\n{table()}\n{END}{after}",
    }


def main() -> int:
    """Write the pages, or with --check name those that are not as they must be."""
    stale = [
        page
        for page, content in pages().items()
        if not page.exists() or page.read_text(encoding="utf-8") != content
    ]
    if "--check" in sys.argv[1:]:
        for page in stale:
            sys.stderr.write(f"{page.name} is stale: run python -m scripts.settings_pages\n")
        return len(stale)
    for page in stale:
        page.write_text(pages()[page], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
