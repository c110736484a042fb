"""What a caller may do: the rules built in, the rules for nodes, and reviews that ask."""
