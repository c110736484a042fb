"""What controllers share: the loop, expectations, ownership, pods of a selector."""
