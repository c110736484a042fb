"""Running the roles: the inventory that they see and the progress that they report."""
