"""The frozen base, the experts on it, and what a question looks like to it."""

import logging

# peft imports bitsandbytes where it is installed, which then tells of a faster kernel on a hub: nothing is fetched here.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
