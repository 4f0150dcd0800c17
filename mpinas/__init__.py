"""mpinas: neural architecture search over MPI (CoDeepNEAT with a MorphNet-style shrink)."""

__version__ = "0.1.0"
