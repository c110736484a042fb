"""The node itself: its registration, its lease, its size, and eviction."""
