"""One pod: whether it may run here, what must happen next, and who does it."""
