"""The code that machines run, as two archives: third-party packages, and ours."""

from provision.bundle.build import ensure_bundle
from provision.bundle.layer import Layer

__all__ = ["Layer", "ensure_bundle"]
