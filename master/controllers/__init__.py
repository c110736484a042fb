"""kube-controller-manager's role: the loops that make what is match what was asked for."""
