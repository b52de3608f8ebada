//! The runtime knows the memory limit of its run.
