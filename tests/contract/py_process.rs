//! The process, its signals and its Linux, as a Python program meets them.
