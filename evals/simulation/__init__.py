"""Simulated people who hold conversations with an agent, and how the agent's conversations are scored."""
