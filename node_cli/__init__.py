"""Train and evaluate image classifiers whose middle is an ODE block."""

__version__ = "0.1.0"
