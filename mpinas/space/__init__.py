"""What may be built: domains of parameters, layer kinds, and the search space made of them."""
