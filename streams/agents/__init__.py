"""The three stages: score, watch, respond. Each takes batches of records and returns once they are stored."""
