"""Text generation: one file per engine."""
