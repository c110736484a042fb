"""The code that machines run, as two archives: third-party packages, and ours."""

from provision.bundle.build import Layer, ensure_bundle

__all__ = ["Layer", "ensure_bundle"]
