"""An evaluation for people: the page with its pictures, and tables on a terminal."""

#: Folder of an evaluation, or of a part of one, with what only whoever had the embeddings could draw.
PLOTS = "plots"
