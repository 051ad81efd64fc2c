"""The commands `deeprec train`."""
