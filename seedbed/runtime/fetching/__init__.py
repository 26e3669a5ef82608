"""Files from the internet: transferred, checked, and only then under their own names."""
