"""Failures that only the operator can mend. `run` logs their message, which names the way out."""

from __future__ import annotations


class CannotRun(Exception):
    """This process cannot go on until somebody acts; a traceback would only hide the message."""
