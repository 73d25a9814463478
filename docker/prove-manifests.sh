#!/bin/sh
# prove-manifests.sh - holds the Kubernetes manifests against the schemas of Kubernetes, all members known, with
# kubernetes-validate from PyPI, which brings them along. The ServiceMonitor's schema is not among them.
set -eu
cd "$(dirname "$0")/.."

tools=build/kubernetes-validate
[ -x $tools/bin/kubernetes-validate ] || {
    /usr/bin/python3 -m venv $tools
    $tools/bin/pip install -q kubernetes-validate
}
cd docker/kubernetes
for manifest in deployment service pdb hpa; do
    ../../$tools/bin/kubernetes-validate --strict $manifest.yaml
done
