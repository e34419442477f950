#!/usr/bin/env bash
# The steps of the container image, so that they can be run and tested without a container.
#   deploy/image.sh compile           the program, with optimisation; another build of it by PROFILE
#   deploy/image.sh root DIR PROGRAM  the files of the image under DIR: the program and its directories
set -euo pipefail
cd "$(dirname "$0")/.."
readonly USER_ID=10001

compile() {
  cargo build --locked --profile "${PROFILE:-release}" --package portcullis
}

root() {
  local directory=$1 program=$2
  install -D -m 755 "$program" "$directory/usr/local/bin/portcullis"
  install -d -m 755 "$directory/etc/portcullis"
  install -d -m 700 "$directory/var/lib/portcullis"
  # Only root can give files away; who builds without being root runs as themselves.
  if [ "$(id -u)" = 0 ]; then
    chown "$USER_ID:$USER_ID" "$directory/var/lib/portcullis"
  fi
}

case "${1:-}" in
  compile) compile ;;
  root) root "$2" "$3" ;;
  *)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac
