"""Training methods, one file each, and the one trainer that runs them all."""
