"""What keeps an ODE cheap to solve: penalties on a solve, and a random interval."""
