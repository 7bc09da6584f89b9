"""One file, one rule: each defines `RULE`."""
