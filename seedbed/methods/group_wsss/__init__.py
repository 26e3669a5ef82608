"""Group-WSSS: group-wise semantic mining and saliency-guided pseudo labels (Li et al., AAAI 2021).

Its co-attention graph network is `seedbed.models.heads.group`.
"""
