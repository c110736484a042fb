"""What each machine is given: files and units, as plain values computed from the lab."""
