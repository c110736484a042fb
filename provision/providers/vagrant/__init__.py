"""Machines as virtual machines, by Vagrant over VirtualBox or libvirt."""
