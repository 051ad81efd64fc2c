"""Benchmarks of training: each compares two things in one run and writes JSON."""
