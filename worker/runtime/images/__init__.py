"""Images: pulled or loaded, bounded, unpacked, kept."""
