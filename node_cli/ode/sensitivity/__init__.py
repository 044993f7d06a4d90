"""How dL/dtheta and dL/dy0 are computed: one method per file, one interface."""
