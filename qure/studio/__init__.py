"""A page for people: search, compare two versions, give preferences, correct labels, look inside a mining.

application.py   the web application: its routes, and how errors become sentences
protection.py    who may ask and who may write; headers that keep texts inert
project.py       what is shown: the images, queries and model versions of one training set
answers.py       what people say, in a database that is only ever added to
labels.py        what people marked as right: votes, CIRCO's form, what is worth a person's minute
survey/          preferences between two models, as HP-FashionIQ was made: questions, export, raters, simulated people

Pages are rendered here and work without a script; the one script adds dropped pictures and keys.
"""
