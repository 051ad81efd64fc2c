"""The commands `deeprec eval`, `deeprec trm eval` and `deeprec demo`."""
