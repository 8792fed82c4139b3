"""`python -m batch_cli` is `vllm-batch`."""

import sys

from batch_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
