"""Kubeflow components: one folder each, `component.py` and the README.md generated from it.

A component is a thin function: it reads the settings from its `params` argument, calls ONE library function
(`qure/<package>/stage.py`) on the folders of its artifacts, and states what came out. It holds no logic.

The functions import qure in their bodies, so they run in any image that has it installed (infra/images/Containerfile).
"""

#: Image of a component that is used on its own. Pipelines put the configured image, by digest, in its place.
BASE_IMAGE = "qure:latest"
