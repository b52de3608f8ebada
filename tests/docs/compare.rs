//! Whether what was printed is what a page shows.
//!
//! A page shows one text where a terminal mixes two streams, and which of two lines comes first is
//! up to chance. So the lines of each stream must come in order, and the page may mix the two in
//! any way.

use std::collections::HashSet;

const ANYTHING: &str = "...";

pub fn matches(expected: &str, stdout: &str, stderr: &str) -> bool {
    let lines =
        |text: &'_ str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (expected, stdout, mut stderr) = (lines(expected), lines(stdout), lines(stderr));
    stderr.retain(|line| !is_passing_of_time(line) || expected.contains(line));
    let mut seen = HashSet::new();
    let mut open = vec![(0, 0, 0)];
    while let Some(at @ (e, o, r)) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        let Some(line) = expected.get(e) else {
            if o == stdout.len() && r == stderr.len() {
                return true;
            }
            continue;
        };
        let any_lines = line == ANYTHING;
        if any_lines {
            open.push((e + 1, o, r));
        }
        let next = if any_lines { e } else { e + 1 };
        if stdout.get(o).is_some_and(|printed| any_lines || line_matches(line, printed)) {
            open.push((next, o + 1, r));
        }
        if stderr.get(r).is_some_and(|printed| any_lines || line_matches(line, printed)) {
            open.push((next, o, r + 1));
        }
    }
    false
}

/// Whether a line only says that a step is still running, as belljar does every few seconds. On a
/// slow machine there are more of them.
fn is_passing_of_time(line: &str) -> bool {
    let seconds = line
        .strip_prefix("belljar: ")
        .and_then(|line| line.strip_suffix(" s)")?.rsplit_once(" ("))
        .map(|(_, seconds)| seconds);
    seconds.is_some_and(|seconds| {
        !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[test]
fn streams_may_mix_but_not_change_order() {
    assert!(matches("a\nx\nb\n", "a\nb\n", "x\n"));
    assert!(matches("x\na\nb\n", "a\nb\n", "x\n"));
    assert!(!matches("b\na\n", "a\nb\n", ""));
    assert!(!matches("a\n", "a\nb\n", ""));
    assert!(!matches("a\nb\n", "a\n", ""));
    assert!(!matches("a\n", "a\n", "an error\n"));
}

#[test]
fn three_dots_stand_for_text_and_for_lines() {
    assert!(matches("took ... ms of 10\n", "took 3.5 ms of 10\n", ""));
    assert!(!matches("took ... ms of 10\n", "took 3.5 ms of 11\n", ""));
    assert!(matches("first\n...\nlast\n", "first\n1\n2\nlast\n", "3\n"));
    assert!(!matches("first\n...\nlast\n", "first\n1\n2\n", ""));
    assert!(!matches("a...b...c\n", "a c b\n", ""));
}

#[test]
fn that_a_step_takes_long_is_passed_over() {
    assert!(matches(
        "error: no",
        "",
        "belljar: resolving packages (2 s)\nbelljar: resolving packages (4 s)\nerror: no"
    ));
    assert!(!matches("error: no", "", "belljar: left behind: a.csv\nerror: no"));
    assert!(!matches("error: no", "", "belljar: installed two packages in 2 s\nerror: no"));
}
