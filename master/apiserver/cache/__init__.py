"""The watch cache: every object in memory, one feed from the store, events fanned out as bytes."""
