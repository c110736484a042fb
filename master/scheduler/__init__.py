"""kube-scheduler's role: a node for each pod, chosen by filters and scores."""
