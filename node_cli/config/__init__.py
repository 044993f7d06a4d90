"""What a configuration may say. Free of torch, so that a wrong command is answered at once."""
