//! Files that a program is given, leaves and finds.
