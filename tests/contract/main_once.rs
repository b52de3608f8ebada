//! `main` runs exactly once, whoever starts it.
