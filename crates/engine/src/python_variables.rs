//! Variables that Python reads when it starts. A sandbox's Python is started, and often forked, before the variables of its run are known. Most of them the
//! driver applies all the same (`python_variables.py`); those that only a start can apply are refused by name, as to pass over them would be to ignore them.

use std::collections::BTreeMap;

/// What only the start of an interpreter reads, and what to do instead.
const ONLY_AT_START: [(&str, &str); 22] = [
    ("PYTHONHASHSEED", "sort what is iterated where the order matters"),
    ("PYTHONOPTIMIZE", "leave it out"),
    ("PYTHONDEVMODE", "set PYTHONWARNINGS=default, PYTHONFAULTHANDLER=1 or PYTHONASYNCIODEBUG=1"),
    ("PYTHONHOME", "choose the interpreter with --runtime"),
    ("PYTHONPLATLIBDIR", "choose the interpreter with --runtime"),
    ("PYTHONEXECUTABLE", "choose the interpreter with --runtime"),
    ("PYTHONMALLOC", "leave it out"),
    ("PYTHONMALLOCSTATS", "leave it out"),
    ("PYTHONDEBUG", "leave it out"),
    ("PYTHONVERBOSE", "leave it out"),
    ("PYTHONINSPECT", "leave it out"),
    ("PYTHONPROFILEIMPORTTIME", "leave it out"),
    ("PYTHONDUMPREFS", "leave it out"),
    ("PYTHONDUMPREFSFILE", "leave it out"),
    ("PYTHONNODEBUGRANGES", "leave it out"),
    ("PYTHONWARNDEFAULTENCODING", "leave it out"),
    ("PYTHONPERFSUPPORT", "leave it out"),
    ("PYTHON_PERF_JIT_SUPPORT", "leave it out"),
    ("PYTHON_GIL", "leave it out"),
    ("PYTHON_JIT", "leave it out"),
    ("PYTHON_CPU_COUNT", "leave it out"),
    ("PYTHON_FROZEN_MODULES", "leave it out"),
];

/// The first variable that a run of Python cannot be given, in words.
pub(crate) fn why_refused(variables: &BTreeMap<String, String>) -> Option<String> {
    let refused = |(name, instead): &(&str, &str)| {
        let value = variables.get(*name).filter(|value| !value.is_empty())?;
        // What is so anyway.
        let is_so = matches!((*name, value.as_str()), ("PYTHONHASHSEED", "random") | ("PYTHON_GIL", "1") | ("PYTHON_JIT", "0"));
        (!is_so).then(|| format!("{name} is read when Python starts, before a run has its variables: {instead}"))
    };
    let utf8 = variables.get("PYTHONUTF8").filter(|value| *value == "0");
    ONLY_AT_START.iter().find_map(refused).or_else(|| {
        utf8.map(|_| {
            "PYTHONUTF8=0 is read when Python starts, before a run has its variables: name the encoding where a file is opened".to_owned()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> Option<String> {
        why_refused(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn what_only_a_start_can_apply_is_refused_by_name() {
        for (name, value) in
            [("PYTHONHASHSEED", "0"), ("PYTHONOPTIMIZE", "1"), ("PYTHONHOME", "/x"), ("PYTHONUTF8", "0"), ("PYTHONDEVMODE", "1")]
        {
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
