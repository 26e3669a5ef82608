"""PSA: pixel affinities and the random walk (Ahn & Kwak, CVPR 2018)."""
