#!/bin/sh
# Makes deploy/.env of .env.example, with a new secret wherever one is missing.
set -eu
umask 077
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "error: $PWD/.env is there already: edit it, or move it away first" >&2
    exit 1
fi

hex() { # of so many random bytes
    od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

while IFS= read -r line; do
    case $line in
        API_KEYS=*) printf '%s\n' "API_KEYS='{\"sk-$(hex 20)\": default}'" ;;
        # The S3 server takes keys of these forms only.
        S3_ACCESS_KEY_ID=) printf '%s\n' "${line}GK$(hex 12)" ;;
        S3_*=) printf '%s\n' "${line}$(hex 32)" ;;
        [A-Z]*=) printf '%s\n' "${line}s$(hex 15)" ;;
        *) printf '%s\n' "$line" ;;
    esac
done < .env.example > .env.new
mv .env.new .env
echo "$PWD/.env is made; the API key is the one in API_KEYS"
