"""Admission plug-ins: what an authorized write may contain. One file each, pure."""
