"""`vllm-batch backup create|list|verify|restore`."""

from batch_cli.parser import Commands, Parser, key_value

_EPILOG = """\
PLACE is a folder or what blobs.url takes (s3://bucket/prefix, …), with -o key=value for options of
that store. It holds any number of backups of one installation; each copies only what the one before
it has not. A backup has every row and every object: also the secrets that sign webhooks, and all
that users sent. Keep it as you keep the database.

examples:
  vllm-batch backup create /mnt/backups
  vllm-batch backup verify /mnt/backups
  vllm-batch backup restore /mnt/backups --data-dir /srv/restored
"""
_CREATE_EPILOG = """\
While the services run; nobody waits for it. Prints the backup's id. Broken off, it leaves none.

examples:
  vllm-batch backup create /mnt/backups --data-dir /srv/batch
  vllm-batch backup create s3://backups/batch --config config.yml -o region=eu-central-1
"""
_VERIFY_EPILOG = """\
Reads every byte and compares it with what was written. Exit code 1: something is missing or
damaged; each problem is a line.

example:
  vllm-batch backup verify /mnt/backups backup_01k…
"""
_RESTORE_EPILOG = """\
Into a new data directory, or the empty Postgres database and blob store of --config; anything else
is refused. Stop the services first. Broken off, the same command goes on. A backup of SQLite can be
restored into Postgres, and the other way round.

examples:
  vllm-batch backup restore /mnt/backups --data-dir /srv/restored
  vllm-batch backup restore s3://backups/batch backup_01k… --config config.yml
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "backup",
        help="back up database and files while everything runs; restore them",
        description="Back up database and blob store, and restore them.",
        epilog=_EPILOG,
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(inner, "create", "make a backup while the services run", _CREATE_EPILOG, "create")
    _add(inner, "list", "the backups that a place holds", _EPILOG, "list_backups")
    verify = _add(inner, "verify", "read a backup through", _VERIFY_EPILOG, "verify")
    verify.add_argument(
        "--sizes", action="store_true", help="compare sizes only: no object is read"
    )
    restore = _add(inner, "restore", "restore into an empty place", _RESTORE_EPILOG, "restore")
    for one in (verify, restore):
        one.add_argument("id", nargs="?", metavar="ID", help="backup_… (default: the latest)")


def _add(commands: Commands, name: str, what: str, epilog: str, function: str) -> Parser:
    parser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=epilog
    )
    parser.add_argument("place", metavar="PLACE", help="a folder, or a URL")
    if name in ("create", "restore"):
        parser.add_argument("--config", metavar="FILE", help="config.yml of the services")
        parser.add_argument("--data-dir", metavar="D", help="that of `vllm-batch up`")
    parser.add_argument(
        "-o",
        dest="options",
        action="append",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="option of the store at PLACE; may be repeated",
    )
    parser.set_defaults(
        work=f"batch_cli.backup.command:{function}", takes_unknown=False, parser=parser
    )
    return parser
