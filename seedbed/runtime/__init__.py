"""How it runs, never what comes out: errors, progress, whole files, GPU locks, worker processes."""
