"""Requests: what people asked at a moment and what they took; their file, and importers that make it."""
