"""What a GPU gives: `python -m benchmarks.gpu` checks and measures everything, a row each.

Made for a bare machine: Python 3.12, torch with CUDA, NumPy, h5py, scikit-image, Pillow and
pydantic; no pydensecrf, Snakemake, compiler or network. Ends within 8 minutes. `--device cpu` does
the same on small sizes, as a rehearsal. A module a topic; each has a tuple ROWS.
"""
