"""Preference data of one's own, made as the paper made HP-FashionIQ.

questions.py   what is asked: two versions' top five for the same queries, and attention checks
progress.py    who answered what: question sets, sides, resuming
export.py      hpfiq.json's form, with what is left out and why
raters.py      how far the people can be relied on
crowd.py       simulated people who answer through the page
"""
