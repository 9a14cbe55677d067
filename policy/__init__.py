"""The mind: what a turn sees, what the model says, and what that does."""
