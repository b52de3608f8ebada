//! The contract of a program, as tables of small programs: what each is given, and how it must end.
//! See `case.rs` for how to add one.
//!
//! The real binary runs each of them in both start modes. Needs a Node (found or fetched) and a
//! Python.

mod case;
mod decorators;
mod endings;
mod errors;
mod files;
mod javascript;
mod js_values;
mod logs;
mod main_once;
mod memory;
mod modules;
mod packages;
mod pending;
mod py_display;
mod py_habits;
mod py_imports;
mod py_main;
mod py_process;
mod py_values;
mod python;
mod typescript;
