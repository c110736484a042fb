"""What `muster` does to a lab, phase by phase. Each takes a `Session` and reports as it goes."""
