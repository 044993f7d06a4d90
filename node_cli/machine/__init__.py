"""What a run finds out about the machine: device, memory, compiler, versions."""
