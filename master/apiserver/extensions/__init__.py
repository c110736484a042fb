"""Custom resources: what a CustomResourceDefinition says becomes a kind like any other."""
