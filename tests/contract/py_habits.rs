//! Notebook habits in Python programs.
