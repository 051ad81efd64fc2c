"""Runs as JSON lines, Parquet, OpenTelemetry spans and preference files."""
