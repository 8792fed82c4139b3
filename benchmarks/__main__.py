"""`python -m benchmarks [NAME …]`."""

import argparse

from rich.console import Console

from benchmarks import end_to_end, postgres_rows, upload_memory

_ALL = {
    "upload_memory": upload_memory.main,
    "end_to_end": end_to_end.main,
    "postgres_rows": postgres_rows.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_ALL)}")
    names = parser.parse_args().names or list(_ALL)
    if unknown := set(names) - set(_ALL):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    console = Console()
    for name in names:
        _ALL[name](console)


if __name__ == "__main__":
    main()
