"""Kubeflow pipelines of qure: what runs in which order, with which resources; and the client that submits them."""
