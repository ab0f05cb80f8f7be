"""The scanner: fields, noise, k-space, images."""
