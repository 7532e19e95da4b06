"""`python -m xmc` is the command `xmc`; with torchrun: `torchrun --nproc-per-node 2 -m xmc train …`."""

from xmc.cli.main import main

if __name__ == "__main__":
    main()
