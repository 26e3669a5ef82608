"""DSRG: deep seeded region growing (Huang et al., CVPR 2018)."""
