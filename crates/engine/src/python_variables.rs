//! Variables that Python reads when it starts. A sandbox's Python is started, and often forked,
//! before the variables of its run are known. The driver can apply most of them later
//! (`python_variables.py`). Those that only the start of the interpreter can apply are refused by
//! name, because they would otherwise be ignored silently.

use std::collections::BTreeMap;

use crate::error::EngineError;

/// The variables that only the start of an interpreter can apply, and what to do instead.
const ONLY_AT_START: [(&str, &str); 22] = [
    ("PYTHONHASHSEED", "sort sets before iterating where the order matters"),
    ("PYTHONOPTIMIZE", "remove it"),
    ("PYTHONDEVMODE", "set PYTHONWARNINGS=default, PYTHONFAULTHANDLER=1 or PYTHONASYNCIODEBUG=1"),
    ("PYTHONHOME", "choose the interpreter with --runtime"),
    ("PYTHONPLATLIBDIR", "choose the interpreter with --runtime"),
    ("PYTHONEXECUTABLE", "choose the interpreter with --runtime"),
    ("PYTHONMALLOC", "remove it"),
    ("PYTHONMALLOCSTATS", "remove it"),
    ("PYTHONDEBUG", "remove it"),
    ("PYTHONVERBOSE", "remove it"),
    ("PYTHONINSPECT", "remove it"),
    ("PYTHONPROFILEIMPORTTIME", "remove it"),
    ("PYTHONDUMPREFS", "remove it"),
    ("PYTHONDUMPREFSFILE", "remove it"),
    ("PYTHONNODEBUGRANGES", "remove it"),
    ("PYTHONWARNDEFAULTENCODING", "remove it"),
    ("PYTHONPERFSUPPORT", "remove it"),
    ("PYTHON_PERF_JIT_SUPPORT", "remove it"),
    ("PYTHON_GIL", "remove it"),
    ("PYTHON_JIT", "remove it"),
    ("PYTHON_CPU_COUNT", "remove it"),
    ("PYTHON_FROZEN_MODULES", "remove it"),
];

/// Checks that a run of Python can be given these variables.
pub(crate) fn check(variables: &BTreeMap<String, String>) -> Result<(), EngineError> {
    for (name, instead) in ONLY_AT_START {
        let Some(value) = variables.get(name).filter(|value| !value.is_empty()) else { continue };
        // Values that are in effect anyway.
        let is_default = matches!(
            (name, value.as_str()),
            ("PYTHONHASHSEED", "random") | ("PYTHON_GIL", "1") | ("PYTHON_JIT", "0")
        );
        if !is_default {
            return Err(EngineError::StartVariable { name, instead });
        }
    }
    if variables.get("PYTHONUTF8").is_some_and(|value| value == "0") {
        let instead = "name the encoding when opening a file";
        return Err(EngineError::StartVariable { name: "PYTHONUTF8=0", instead });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> Option<String> {
        check(&[(name.to_owned(), value.to_owned())].into()).err().map(|error| error.to_string())
    }

    #[test]
    fn what_only_a_start_can_apply_is_refused_by_name() {
        for (name, value) in [
            ("PYTHONHASHSEED", "0"),
            ("PYTHONOPTIMIZE", "1"),
            ("PYTHONHOME", "/x"),
            ("PYTHONUTF8", "0"),
            ("PYTHONDEVMODE", "1"),
        ] {
            assert!(refused(name, value).is_some_and(|why| why.contains(name)), "{name}");
        }
        for (name, value) in [
            ("PYTHONHASHSEED", "random"),
            ("PYTHONHASHSEED", ""),
            ("PYTHONWARNINGS", "ignore"),
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONPATH", "lib"),
            ("OTHER", "1"),
        ] {
            assert_eq!(refused(name, value), None, "{name}");
        }
    }
}
