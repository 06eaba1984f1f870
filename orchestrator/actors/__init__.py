"""Concurrency: one actor a run, one supervisor a partition."""
