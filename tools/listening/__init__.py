"""What the shipped policy learns to hear from: catalogues made for training, and requests written for them."""
