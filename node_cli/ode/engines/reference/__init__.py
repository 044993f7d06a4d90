"""Steps by torchdiffeq, which the native engine is tested against."""
