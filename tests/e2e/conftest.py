"""The databases of the integration tests, for tests that run the program on one of them."""

from tests.integration.conftest import dsn, empty_dsn, module_dsn, server

__all__ = ["dsn", "empty_dsn", "module_dsn", "server"]
