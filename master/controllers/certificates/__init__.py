"""Publishes the cluster's certificate authority."""
