"""Who calls (client certificates) and what they may do (built-in RBAC rules, node rules)."""
