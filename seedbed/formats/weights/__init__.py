"""Files of weights of Caffe, MXNet, TensorFlow, NumPy and PyTorch → {name: tensor}."""
