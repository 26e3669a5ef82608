"""The published systems: each formula under the name of its paper."""
