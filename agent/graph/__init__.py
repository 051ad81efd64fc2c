"""The state machine: its nodes, its state, its settings, and ways to run it."""
