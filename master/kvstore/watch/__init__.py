"""Watches: who hears of which change, without I/O. `services.watch` carries it to clients."""
