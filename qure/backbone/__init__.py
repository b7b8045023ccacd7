"""The model that training starts from: made on the catalogue, or imported (BLIP-2)."""
