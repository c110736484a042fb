"""One strategy per kind; the table that finds them is `registry/catalog.py`."""
