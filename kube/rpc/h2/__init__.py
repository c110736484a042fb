"""Our services and calls on libnghttp2, through a small C shim. `docs/rpc.md` explains it."""
