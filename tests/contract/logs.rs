//! Logs keep their beginning and their end, and hold nothing of the sandbox's own.
