"""The workflow's rules, and what they are made from."""
