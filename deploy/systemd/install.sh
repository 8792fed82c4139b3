#!/bin/sh
# Puts units, configuration and new secrets in their places; what is there already, it keeps. As
# root. DESTDIR: another root, for packages.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
etc=$root/etc/vllm-batch

install -d "$etc" "$etc/nats" "$root/etc/systemd/system" "$root/etc/sysusers.d"
install -m 0644 "$here"/*.service "$here"/*.target "$root/etc/systemd/system/"
install -m 0644 "$here/vllm-batch.sysusers.conf" "$root/etc/sysusers.d/vllm-batch.conf"

keep() { # mode, file, where: unless it is there
    [ -e "$3" ] || install -m "$1" "$2" "$3"
}
keep 0644 "$here/../config.yml" "$etc/config.yml"
keep 0644 "$here/../nats/nats-server.conf" "$etc/nats/nats-server.conf"
keep 0644 "$here/../nats/accounts.conf" "$etc/nats/accounts.conf"

hex() { # of so many random bytes
    od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}
umask 077
if [ ! -e "$etc/nats.env" ]; then
    : > "$etc/nats.env.new"
    for service in gateway scheduler runner sinks; do
        secret=s$(hex 15)
        name=$(echo "$service" | tr '[:lower:]' '[:upper:]')
        echo "NATS_${name}_PASSWORD=$secret" >> "$etc/nats.env.new"
        printf 'NATS_USER=%s\nNATS_PASSWORD=%s\n' "$service" "$secret" > "$etc/$service.env"
    done
    {
        echo "NATS_LISTENER_PASSWORD=s$(hex 15)"
        echo "NATS_OPERATOR_PASSWORD=s$(hex 15)"
    } >> "$etc/nats.env.new"
    cat >> "$etc/gateway.env" <<EOF
VLLM_BATCH_GATEWAY__HOST=127.0.0.1
VLLM_BATCH_GATEWAY__API_KEYS='{"sk-$(hex 20)": default}'
EOF
    cat >> "$etc/runner.env" <<EOF
VLLM_BATCH_RUNNER__MODELS=[Qwen/Qwen3-4B]
VLLM_BATCH_RUNNER__PYTHON=/opt/vllm/bin/python
# HF_TOKEN=
# VLLM_BATCH_RUNNER__OPTIONS__MAX_MODEL_LEN=8192
EOF
    cat > "$etc/common.env" <<EOF
NATS_URL=nats://127.0.0.1:4222
# Empty: SQLite in /var/lib/vllm-batch.
DATABASE_URL=
# Empty: the folder blobs there.
BLOBS_URL=
EOF
    mv "$etc/nats.env.new" "$etc/nats.env"
fi

if [ -z "$root" ]; then
    systemd-sysusers
    systemctl daemon-reload
fi
echo "installed in ${root:-/}: the model is named in $etc/runner.env, the API key in $etc/gateway.env"
