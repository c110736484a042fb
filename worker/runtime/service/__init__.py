"""CRI's two services over the node's parts."""
