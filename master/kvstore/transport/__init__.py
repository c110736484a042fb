"""Between the members: batches of Raft messages, small requests, snapshots. One TCP port each."""
