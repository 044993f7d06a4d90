"""How a model learns: the loop, one update, the objectives, evaluation."""
