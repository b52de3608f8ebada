//! `main` of a Python program runs exactly once.
