"""The transports by name, as `--rpc-transport` and `open_channel` take them."""

GRPCIO = "grpcio"
NGHTTP2 = "nghttp2"
TRANSPORTS = (NGHTTP2, GRPCIO)
DEFAULT = NGHTTP2
