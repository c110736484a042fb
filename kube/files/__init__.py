"""File access where somebody hostile may write at the same time.

What a container can reach is never opened by its path: one directory is opened that nobody hostile
can move, and everything else by descriptors from there (`beneath`), removed by them (`trees`), and
mounted by them (`mounts`). It all happens in threads of its own (`threads`), never on a loop.
"""
