"""Execution without influence on results.

Errors, progress, atomic files, GPU locks, worker processes.
"""
