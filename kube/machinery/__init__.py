"""What a Kubernetes object is made of: kinds, quantities, selectors, times, errors."""
