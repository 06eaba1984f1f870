"""A long load, and what it leaves behind: memory, files, tasks, latency that creep."""
