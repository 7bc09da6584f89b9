"""Which evaluation items training texts overlap, and what scores are without those items.

An item is a hit where it shares any n words in a row with a training text; one of fewer than n
words where a training text holds all of it.
Source: Brown et al. 2020, Language Models are Few-Shot Learners (arXiv 2005.14165), section 4 and
appendix C, which takes n = 13 for all but short tasks; EleutherAI/lm-evaluation-harness,
docs/decontamination.md, takes 13 for all.
"""
