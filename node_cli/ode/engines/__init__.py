"""How steps are computed: one by one, in compiled loops, or by torchdiffeq."""
