"""The training loop: collect, score, train, load the adapter, validate, and again."""
