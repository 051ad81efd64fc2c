"""Importers of requests: dialogues of ReDial, and a shop's log."""
