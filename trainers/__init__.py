"""Training methods, one file each, and the one trainer that runs them all."""

import logging

# peft imports bitsandbytes where it is installed, and that regrets on stderr that a kernel for
# some CPUs, which is not used here, could not be fetched from the Hub.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
