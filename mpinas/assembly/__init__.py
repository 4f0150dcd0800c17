"""From a candidate to a network: expansion, shapes and costs, and the Keras model."""
