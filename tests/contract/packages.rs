//! Packages that a program imports or asks for.
