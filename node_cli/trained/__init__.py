"""A trained model to take away: images in, probabilities out, in Python or as a file."""
