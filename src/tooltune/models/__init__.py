import logging

# PEFT imports bitsandbytes wherever it is installed, and that says on a CPU that a kernel for
# generation could be fetched from the hub: nothing that training here would use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
