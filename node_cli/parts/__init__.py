"""Parts that a configuration names: our own, and those of installed packages."""
