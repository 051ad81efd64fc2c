"""Formats of tables: each module reads the rows of one."""
