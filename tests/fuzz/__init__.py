"""Readers of foreign files against hostile bytes: `python -m tests.fuzz NAME --seconds 600`."""
