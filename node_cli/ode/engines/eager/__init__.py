"""Steps computed one by one."""
