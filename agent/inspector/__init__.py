"""The inspector: a run, or two beside one another, as a page to read."""
