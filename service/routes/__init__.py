"""The HTTP routes, one noun per module."""
