"""An evaluation for people: the page with its pictures, and tables on a terminal."""
