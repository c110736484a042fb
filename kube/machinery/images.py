"""What an image's name says: its tag, and when it is pulled unless somebody says so. Pure."""

from __future__ import annotations

ALWAYS, IF_NOT_PRESENT = "Always", "IfNotPresent"


def default_pull_policy(image: str) -> str:
    """Always for `:latest` and for no tag at all, else IfNotPresent; a digest never changes."""
    if "@" in image:
        return IF_NOT_PRESENT
    _, _, tag = image.rpartition("/")[2].partition(":")
    return ALWAYS if tag in ("", "latest") else IF_NOT_PRESENT
