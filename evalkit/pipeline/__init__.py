"""From a recipe to a published family: plans steps, checks everything first, runs, resumes."""
