"""Whole solves as loops that torch.compile makes one graph of."""
