"""SFT and GRPO on logged rollouts, their settings, checkpoints and logs."""
