"""Video saliency prediction in JAX."""
