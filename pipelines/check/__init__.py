"""`qure-pipelines check`: one small pipeline, with the product's image and service account, that looks around."""
