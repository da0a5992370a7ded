"""The fleet page: all sites with their verdicts, one site's day, and the operators who log in to see them."""
