"""Multi-version key-value state: pure and deterministic, so every member computes the same."""
