"""Who calls: client certificates, and impersonation."""
