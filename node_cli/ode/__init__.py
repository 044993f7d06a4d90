"""The mathematics: solvers, gradients, accounting. Knows no configuration, no images, no files."""
