"""Users, roles and what they may do: replicated rules, and each member's tokens."""
