"""Validation per kind: objects in, causes with field paths and upstream's texts out. Pure."""
