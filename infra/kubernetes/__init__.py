"""What the pipelines need in a Kubernetes namespace: settings and the manifests made of them.

No Namespace object is among them, nor a label on one: the namespace is there already, and others may live in it.
"""
