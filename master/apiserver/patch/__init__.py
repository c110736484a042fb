"""The four patch formats over plain JSON values. Pure; nothing here knows the store or HTTP."""
