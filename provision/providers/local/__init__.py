"""Machines on one Linux box: system containers with systemd, sshd and a size of their own."""
