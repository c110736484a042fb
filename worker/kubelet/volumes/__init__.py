"""Volumes, and the files that the kubelet keeps for a pod."""
