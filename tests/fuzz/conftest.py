"""The database of the integration tests."""

from tests.integration.conftest import dsn, server

__all__ = ["dsn", "server"]
