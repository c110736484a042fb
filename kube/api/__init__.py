"""The Kubernetes API as Muster's processes see it: types, scheme, selectors, errors."""
