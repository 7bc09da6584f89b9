"""`python -m evalkit.cli`, which child processes use."""

from evalkit.cli.app import main

main()
