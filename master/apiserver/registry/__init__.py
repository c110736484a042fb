"""What the API does with objects: the generic verbs over the store."""
