"""PostgreSQL: functions that take a connection, and the SQL they run."""
