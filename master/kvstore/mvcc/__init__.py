"""Multi-version key-value state: every member computes the same.

Pure and deterministic."""
