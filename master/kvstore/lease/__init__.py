"""Leases: the replicated part (`lessor`) and the leader's own clockwork (`expiry`). Pure."""
