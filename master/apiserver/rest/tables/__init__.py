"""Server-side printing: what `kubectl get` shows, with upstream's columns."""
