#!/usr/bin/env bash
# What tests of cluster/ need on one of GitHub's machines, which has kubectl, kustomize and rsync: promtool from the
# signed package of its own distribution, and hadolint from the release's lock.
set -euo pipefail
folder=$(mktemp -d)
(cd "$folder" && sudo apt-get update -qq && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .)
sudo install "$folder/usr/bin/promtool" /usr/local/bin/promtool
promtool --version
make tools
.venv-release/bin/hadolint --version
