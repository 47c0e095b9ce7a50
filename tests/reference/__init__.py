"""The metrics once more, in NumPy and float64, one sample and one step at a time.

Written from the definitions and the papers: slow, plain, and independent of the library.
"""
