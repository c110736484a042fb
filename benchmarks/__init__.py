"""Measurements, printed as figures. Nothing here passes or fails."""
