"""A load generator for any deployment: it executes workflows and measures what comes of them."""
