"""What a run does: train, evaluate, check gradients."""
