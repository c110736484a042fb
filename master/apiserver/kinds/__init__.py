"""Every kind that the api-server serves: a file a kind, and `catalog.py` names the files. Pure."""
