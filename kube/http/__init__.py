"""A small HTTP server: pages of a few bytes beside what a process really serves."""
