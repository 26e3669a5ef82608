"""A network over scales and flip, and what follows it."""
