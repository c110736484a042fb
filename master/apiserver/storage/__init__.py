"""How objects lie in the store: keys, and values without their resourceVersion."""
