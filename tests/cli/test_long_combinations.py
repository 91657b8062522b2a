"""An hour of random combinations of features, other ones each time; the seed is printed, and a case that fails is repeated by its own."""
import sys
import time

from combinations.main import main

sys.exit(main(seed=int(time.time()), cases=1000000, seconds=3600))
