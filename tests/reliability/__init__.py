"""What a hostile month does to runs, and what is left of them. ``python -m tests.reliability`` does
it many times and counts; ``test_reliability.py`` does a little of it."""
