"""A workflow orchestrator for AI agents and services."""
