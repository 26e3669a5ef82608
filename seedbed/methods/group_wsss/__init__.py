"""Group-WSSS: group-wise mining and saliency-guided pseudo labels (Li et al., AAAI 2021)."""
