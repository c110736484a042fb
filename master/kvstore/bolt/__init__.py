"""bbolt's database file, which etcd's snapshots are: written in one go, read with suspicion.

Pure: bytes, or a memory map that is handed in.
"""
