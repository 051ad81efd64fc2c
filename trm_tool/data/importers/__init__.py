"""Published data sets and tables of your own, read row by row into atomic files."""
