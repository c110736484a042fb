"""What one member does around Raft's core, one responsibility a module. `Node` puts them together.

`pump.py` is where to begin: it does what the core says, in the order in which it says it. Each part
gets what it needs when it is made, and reaches into no other.
"""
