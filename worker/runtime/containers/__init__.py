"""Containers: bundles, monitors, execs, streams, logs."""
