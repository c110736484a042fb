"""Pod sandboxes: namespaces, network, sysctls."""
