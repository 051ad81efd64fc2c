"""What each piece of a training is worth: a plan of rows, each a small change of one loop, and their table."""
