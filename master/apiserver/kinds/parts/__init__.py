"""Subresources: the parts of objects that have endpoints of their own. Pure."""
