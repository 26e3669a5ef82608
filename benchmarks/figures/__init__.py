"""The figures of the default run in README and docs: `make figures`."""
