"""The pages bring everything with them."""

import re
import subprocess
import sys

import pytest

from orchestrator.api import pages


@pytest.mark.parametrize("page", [pages._SWAGGER, pages._REDOC, pages._HOME])
def test_a_page_loads_nothing_from_elsewhere_and_has_no_inline_script(page: str) -> None:
    assert "//" not in page.replace("<!doctype", "")
    assert not re.search(r"<script>|<script [^>]*>[^<]", page)
    for name in re.findall(r"/docs/assets/([\w.-]+)", page):
        content, _ = pages.asset(name)
        assert content


def test_redoc_does_not_fetch_its_makers_mark() -> None:
    content, kind = pages.asset("redoc.standalone.js")

    assert kind == "text/javascript"
    assert b"cdn.redoc" not in content


def test_only_our_own_names_are_files() -> None:
    for name in ("../__init__.py", "__init__.py", "", "core.py"):
        with pytest.raises(KeyError):
            pages.asset(name)


def test_the_package_of_the_assets_is_not_imported() -> None:
    code = (
        "import sys; from orchestrator.api import pages; pages.asset('favicon.png');"
        "sys.exit('fastapi' in sys.modules or 'fastapi_offline' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
