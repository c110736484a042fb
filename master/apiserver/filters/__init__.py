"""What every request passes on its way in, over REST and gRPC alike: a file a filter."""
