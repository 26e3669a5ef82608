"""The stages of the pipeline: one script a rule, each reads and writes artefacts."""
