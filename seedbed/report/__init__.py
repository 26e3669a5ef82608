"""The page that shows a run: figures and charts, a gallery of every step, and what it took."""
