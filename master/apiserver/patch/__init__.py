"""The four patch formats over plain JSON values. Nothing here knows the store or HTTP."""
