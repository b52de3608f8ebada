//! A JavaScript program that did its work has succeeded, whatever its last line is.
