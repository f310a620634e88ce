"""SALICON: 20,000 images, mouse-contingent attention."""
