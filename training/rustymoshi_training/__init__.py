"""Everything that makes the built-in model from nothing: speech, codec, dialogues, language model, export, judgement.

Run the steps in the order of the README in this folder. Nothing here is needed at run time.
"""

import os

# Threads that wait for each other must sleep, not spin: on a shared machine spinning takes the time of the very thread
# that is waited for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
