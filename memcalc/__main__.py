"""`python -m memcalc` is the `memcalc` command."""

from memcalc.cli import main

main()
