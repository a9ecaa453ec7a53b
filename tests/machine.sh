#!/usr/bin/env bash
# Installs what some tests need beside the project's environment: Debian's and Ubuntu's packages, for CI on a fresh machine.
# Elsewhere, or without the right to, install these by hand; tests whose program is missing are skipped and say so.
set -euo pipefail

packages=(
    podman runc netavark aardvark-dns iptables  # containers where no Docker answers, their base, a registry: tests/test_containers.py
    mmdebstrap docker-registry
    iproute2  # a network of its own: tests/test_strangers.py
    systemd  # systemd-analyze looks at the unit: tests/test_start.py
    openssh-server openssh-client  # a machine to train on: tests/test_vm.py
)
# Looks at the report: tests/test_report_page.py. Ubuntu has no package of this name; GitHub's machines have the program.
command -v chromium >/dev/null || packages+=(chromium)

if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install ${packages[*]} by hand"
    exit 0
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
export DEBIAN_FRONTEND=noninteractive
# Services are started by the tests that need them, not by their installation.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod +x "$policy"
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
