"""Read photos, fit them to a model's input, compose results and encode them."""
