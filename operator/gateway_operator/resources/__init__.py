"""Pure builders of Kubernetes manifests."""
