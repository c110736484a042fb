"""The components' front end: the Resources service over gRPC."""
