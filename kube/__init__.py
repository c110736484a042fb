"""What every component stands on: API types and machinery, the client, transport, process frame."""

__version__ = "0.1.0"
