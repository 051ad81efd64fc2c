"""The tables, and what writes and reads them."""
