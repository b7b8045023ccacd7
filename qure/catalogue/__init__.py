"""The embedded data set: rendered garments and scenes with known attributes, in the public benchmarks' layouts."""
