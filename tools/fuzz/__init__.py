"""Fuzzers: broken input in, rules checked, each failure replayed by its seed."""
