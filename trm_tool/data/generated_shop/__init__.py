"""A generated shop: made products, simulated people."""
