"""Machines as EC2 instances in a VPC of the lab's own."""
