#!/bin/sh
# test_mezo_losses.py over the 2,000 steps of its reference: about two minutes.
STEPS=2000 exec python3 "$SRC/tests/cli/test_mezo_losses.py"
