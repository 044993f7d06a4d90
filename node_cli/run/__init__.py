"""What a run does and leaves behind: the only place with side effects."""
