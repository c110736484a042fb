"""The lab's certificates: made on the provisioning host, shipped only where they are needed."""
