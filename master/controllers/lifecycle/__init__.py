"""What ends objects, and what every namespace is given."""
