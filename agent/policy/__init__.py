"""Clients of the language model: completions by token ids, and LangChain chat models."""
