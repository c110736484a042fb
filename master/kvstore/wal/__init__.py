"""The write-ahead log and the snapshot files of one member: the only code that touches a disk."""
