"""PSA: AffinityNet and its random walk (Ahn & Kwak, CVPR 2018).

Its networks are in `seedbed.models.heads.affinity` and `seedbed.models.backbones.resnet38`.
"""
