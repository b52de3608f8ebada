//! Modules as tsc, tsx, Bun and bundlers have taught people to write them.
