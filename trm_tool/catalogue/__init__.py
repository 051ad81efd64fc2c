"""Items, their typed attributes, and constraints on them."""
