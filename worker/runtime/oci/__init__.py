"""The OCI runtime, and the spec that it is given."""
