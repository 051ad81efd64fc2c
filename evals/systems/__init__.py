"""What an evaluation compares: baselines, recommenders and the systems of a suite."""
