"""Weight files of Caffe, MXNet, TensorFlow, NumPy, PyTorch and safetensors → {name: tensor}."""
