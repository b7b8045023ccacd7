"""The pages, a module each: `routes(studio)` says what each answers to."""
