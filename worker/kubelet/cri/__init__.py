"""The runtime as the kubelet sees it: calls, records, events, images, logs."""
