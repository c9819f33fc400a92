"""Label spaces by name, and which class of one is which class of another. Nothing here needs torch."""
