"""What the API does with objects: strategies per kind, and the generic verbs over the store."""
