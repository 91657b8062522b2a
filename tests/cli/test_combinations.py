"""A few random combinations of features, always the same ones: combinations/ says what is drawn and what has to be equal."""
import sys

from combinations.main import main

sys.exit(main(seed=21, cases=6, seconds=12))
