"""The commands `deeprec trm` and `deeprec data`."""
