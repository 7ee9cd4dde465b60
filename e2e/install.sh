#!/bin/bash
# Cluster up, images loaded, chart installed as `gateways` in discord-gateway-system. Does only what is not done yet.
set -euo pipefail
cd "$(dirname "$0")"
. ./settings.sh
./cluster.sh up
./images.sh >/dev/null
eval "$(./cluster.sh env)"

# A run that was cut off may have left two operators, and what another has set Helm's server-side apply does not take back.
without_proxy kubectl -n "$RELEASE_NAMESPACE" scale "deployment/$RELEASE-operator" --replicas=1 >/dev/null 2>&1 || true
# An upgrade of Helm's leaves a CRD of equal chart version as it is only if nothing changed, so this is cheap to repeat.
# The annotation restarts the operator when an image of the same name has another content.
without_proxy helm upgrade --install "$RELEASE" "$REPOSITORY/charts/discord-gateway-operator" \
  --namespace "$RELEASE_NAMESPACE" --create-namespace \
  --set-string podAnnotations."discordgateway\.dev/images=$(cut -c1-16 <"$ROOT/images/loaded")" \
  --wait --timeout 180s >"$ROOT/helm.log" 2>&1 || {
  tail -5 "$ROOT/helm.log" >&2
  without_proxy kubectl -n "$RELEASE_NAMESPACE" get pods >&2 || true
  without_proxy kubectl -n "$RELEASE_NAMESPACE" logs "deployment/$RELEASE-operator" --tail=30 >&2 || true
  fail "helm could not install the chart."
}
without_proxy kubectl wait --for=condition=Established crd/discordgateways.discordgateway.dev --timeout=30s >/dev/null
say "the operator runs as $RELEASE-operator in $RELEASE_NAMESPACE"
