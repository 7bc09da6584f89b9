"""FastChat's `llm_judge` in files: questions, answers, prompts, judgments, read and written."""
