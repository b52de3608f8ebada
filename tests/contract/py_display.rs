//! Everything that a Python program shows is a rich result.
