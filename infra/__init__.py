"""Where qure runs: images, Kubernetes manifests, train jobs."""
