"""Model servers as processes, the embedded model, and adapters that are loaded into a running server."""
