"""Metrics, access lines and events."""
