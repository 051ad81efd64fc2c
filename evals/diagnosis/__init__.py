"""What went right and wrong in many logged runs: `diagnose` reads them, `tallies` counts, `figures` is what comes out.

Its public names are those of `deeprec.evals`. Nothing is imported here, so that the command line starts quickly.
"""
