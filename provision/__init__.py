"""Makes labs: machines, certificates, provisioning, drills. Runs where the user types."""
