"""Offline jobs that make preferences, judges and policies, and evaluate them. Never imports `service`."""
