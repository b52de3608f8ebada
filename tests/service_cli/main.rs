//! The verbs of a server from outside: the real binary against a real `belljar serve`.
