//! A result that was there is kept, and what is still open is named.
