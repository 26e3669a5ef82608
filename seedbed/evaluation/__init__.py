"""What is right: published definitions of mIoU, and the steps of the chain that are scored."""
