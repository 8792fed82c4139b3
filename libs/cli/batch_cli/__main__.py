"""`python -m batch_cli` is `vllm-batch`."""

from batch_cli.main import script

if __name__ == "__main__":
    script()
