//! Compares the reference of limits with the table from which the limits are made.

use belljar_protocol::{Bytes, LIMITS, LimitUnit, Limits, Policy};
use serde_json::{Value, json};

use crate::page::{Block, Page};
use crate::pages;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn reference() -> Page {
    let is_it = |page: &Page| page.path.ends_with("docs/reference/policy-and-limits.md");
    pages().into_iter().find(is_it).expect("the reference of policy and limits")
}

#[test]
fn the_reference_of_limits_has_each_default_range_and_flag() {
    let text = std::fs::read_to_string(reference().path).expect("a page");
    let section = text.split("\n## Limits\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("an end");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), LIMITS.len(), "{rows:#?}");
    for (row, limit) in rows.iter().zip(&LIMITS) {
        let [min, max] = [limit.min, limit.max].map(|value| shown(limit.unit, value));
        let [default, local] = [limit.default, limit.local_default].map(|value| match limit.unit {
            LimitUnit::Count => grouped(value),
            unit => unit.display(value),
        });
        let (start, end) = (
            format!("| `{}` | ", limit.name),
            format!(" | {default} | {local} | {min} | {max} | `--{}` |", limit.flag),
        );
        assert!(
            row.starts_with(&start) && row.ends_with(&end),
            "{row}\nis not {start}DESCRIPTION{end}"
        );
    }
}

#[test]
fn the_reference_has_all_defaults() {
    let content = reference().blocks.into_iter().find_map(|block| match block {
        Block::File { name, content } if name == "defaults.json" => Some(content),
        _ => None,
    });
    let defaults: Value =
        serde_json::from_str(&content.expect("a file of defaults")).expect("JSON");
    assert_eq!(defaults, json!({"policy": Policy::default(), "limits": Limits::default()}));
}

/// Returns a value as the page writes it: `7 days`, `8 MB`, `32,768`.
fn shown(unit: LimitUnit, value: u64) -> String {
    match unit {
        LimitUnit::Time if value.is_multiple_of(DAY_MS) => format!("{} days", value / DAY_MS),
        LimitUnit::Size if value.is_multiple_of(1 << 40) => format!("{} TB", value >> 40),
        LimitUnit::Size if value >= 1 << 10 => Bytes(value).to_string(),
        _ => grouped(value),
    }
}

/// Returns a number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}
