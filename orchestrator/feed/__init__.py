"""How commands reach the partitions."""
