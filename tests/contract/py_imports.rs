//! Imports of Python programs, in advance and at run time.
