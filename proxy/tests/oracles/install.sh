#!/bin/sh
# Unpacks rsyslog and syslog-ng (which Debian does not let stand side by side) with their libraries below a folder,
# for tests/syslog_differential.rs. Nothing is installed and no service is started.
set -eu
folder=${1:-$(dirname "$0")/../../../target/oracles}
mkdir -p "$folder/deb"
folder=$(cd "$folder" && pwd)
cd "$folder/deb"
for package in rsyslog libestr0 libfastjson4 liblognorm5 syslog-ng-core libivykis0 libnet1 libwrap0 libpcre3 \
  libjson-c5 libglib2.0-0 libcap2; do
  ls "${package}"_*.deb >/dev/null 2>&1 || apt-get download "$package" >/dev/null
done
for package in *.deb; do
  dpkg -x "$package" "$folder"
done
echo "$folder"
