"""The command `muster`: what a user types. It may know everything; nothing knows it."""
