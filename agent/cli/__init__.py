"""The command `deeprec`, and the command groups of this package."""
