"""What a person sees of each stage where only a page is at hand: short Markdown with pictures, and ten numbers.

Made for the pages of Kubeflow Pipelines, whose own rules are kept here: Markdown of at most 400,000 characters,
names in backticks (an underscore is emphasis), pictures inside the text, a file's first 255 bytes, metrics by name.
"""
