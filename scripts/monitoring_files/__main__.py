"""Writes the generated files of monitoring/, or checks that they are current.

PYTHONPATH=scripts python -m monitoring_files [--check]
"""

import argparse
import sys

from monitoring_files.files import FOLDER, contents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a file is out of date")
    check = parser.parse_args().check
    for name, text in contents().items():
        file = FOLDER / name
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        elif not file.exists() or file.read_text("utf-8") != text:
            sys.exit(f"monitoring/{name} is out of date: run make generated")


if __name__ == "__main__":
    main()
