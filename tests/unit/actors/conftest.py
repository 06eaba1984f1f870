"""Crashes are logged as in production: the console's pictures of them take a second each."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        cache_logger_on_first_use=False,
    )
    yield
    structlog.reset_defaults()
