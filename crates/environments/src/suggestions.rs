//! Suggestions for the name of a package that cannot be found. They only appear in messages: no
//! package is installed because its name is similar.

use strsim::damerau_levenshtein;

use crate::popular_packages;
use crate::python_names;
use crate::requirement::Ecosystem;

/// The maximum number of suggestions in one message.
const MAX_MATCHES: usize = 3;

/// The maximum length of a name that is compared, in bytes. Popular names are much shorter.
const MAX_NAME_BYTES: usize = 64;

/// Returns at most three popular names that are similar to a name, the most similar first.
///
/// Similarity is the Damerau-Levenshtein distance without separators and without words that people
/// leave out, such as `python-` in `python-dotenv`. A Python import name leads to its distribution.
pub fn suggestions(ecosystem: Ecosystem, name: &str) -> Vec<&'static str> {
    let wanted = spellings(ecosystem, name);
    if name.len() > MAX_NAME_BYTES || wanted.is_empty() {
        return Vec::new();
    }
    let known = popular_packages::names(ecosystem).iter().map(|known| (*known, *known));
    let imports = python_names::all()
        .filter(|_| ecosystem == Ecosystem::PyPi)
        .filter_map(|entry| Some((entry.module, entry.distribution?)));
    let mut matches: Vec<(usize, &str)> = known
        .chain(imports)
        .filter(|(_, package)| *package != name)
        .filter_map(|(spelling, package)| {
            Some((distance(&wanted, &spellings(ecosystem, spelling))?, package))
        })
        .collect();
    matches.sort_unstable();
    let mut names = Vec::new();
    for (distance, package) in &matches {
        // If a name differs only in its spelling, names that are merely similar are noise.
        if names.len() < MAX_MATCHES
            && !names.contains(package)
            && (*distance == 0 || matches[0].0 > 0)
        {
            names.push(*package);
        }
    }
    names
}

/// Returns the question whether one of these names was meant, or `None` if there are none.
pub(crate) fn did_you_mean(names: &[&str]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let (last, others) = quoted.split_last()?;
    Some(if others.is_empty() {
        format!("did you mean {last}?")
    } else {
        format!("did you mean {} or {last}?", others.join(", "))
    })
}

/// Returns the smallest distance between any two spellings, or `None` if it exceeds a typing error.
fn distance(wanted: &[String], known: &[String]) -> Option<usize> {
    let pairs = wanted.iter().flat_map(|one| known.iter().map(move |other| (one, other)));
    pairs
        .filter_map(|(one, other)| {
            let most = match one.len().min(other.len()) {
                0..=2 => 0,
                3..=5 => 1,
                6..=11 => 2,
                _ => 3,
            };
            let is_possible = one.len().abs_diff(other.len()) <= most;
            Some(damerau_levenshtein(one, other))
                .filter(|distance| is_possible && *distance <= most)
        })
        .min()
}

/// Returns the name in lower case without separators, and variants without the words that people
/// most often leave out or add.
fn spellings(ecosystem: Ecosystem, name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let (prefixes, suffixes): (&[&str], &[&str]) = match ecosystem {
        Ecosystem::PyPi => {
            (&["python-", "python_", "py-"], &["-python", "_python", "-py", "-binary", "-headless"])
        }
        Ecosystem::Npm => (&["node-", "js-"], &["-js", ".js", "-node"]),
    };
    let shorter = prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
    let shorter = shorter.chain(suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix)));
    let mut spellings: Vec<String> = [name.as_str()]
        .into_iter()
        .chain(shorter)
        .map(compact)
        .filter(|spelling| !spelling.is_empty())
        .collect();
    spellings.dedup();
    spellings
}

fn compact(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '-' | '_' | '.' | ' ')).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slips_of_the_hand_lead_to_what_was_meant() {
        for (name, meant) in [
            ("pandsa", "pandas"),
            ("numpi", "numpy"),
            ("reqeusts", "requests"),
            ("beautifulsoup", "beautifulsoup4"),
            ("scikit_learn", "scikit-learn"),
            ("scikitlearn", "scikit-learn"),
            ("dotenv", "python-dotenv"),
            ("python-requests", "requests"),
            ("opencv", "opencv-python"),
            ("PIL", "pillow"),
            ("cv2", "opencv-python-headless"),
        ] {
            assert_eq!(suggestions(Ecosystem::PyPi, name).first(), Some(&meant), "{name}");
        }
        for (name, meant) in [
            ("loadsh", "lodash"),
            ("expresss", "express"),
            ("axois", "axios"),
            ("csvparser", "csv-parser"),
            ("@aws-sdk/client-s33", "@aws-sdk/client-s3"),
        ] {
            assert_eq!(suggestions(Ecosystem::Npm, name).first(), Some(&meant), "{name}");
        }
    }

    #[test]
    fn what_resembles_nothing_has_no_matches() {
        for name in ["", "-", "my-very-own-company-thing", "zq", "日本", &"pandas".repeat(100)] {
            assert!(suggestions(Ecosystem::PyPi, name).is_empty(), "{name}");
            assert!(suggestions(Ecosystem::Npm, name).is_empty(), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn matches_are_few_known_and_others_than_the_name(name in "[a-z0-9@/._-]{0,20}|\\PC{0,20}") {
            for ecosystem in [Ecosystem::PyPi, Ecosystem::Npm] {
                let matches = suggestions(ecosystem, &name);
                prop_assert!(matches.len() <= MAX_MATCHES);
                for one in &matches {
                    prop_assert!(popular_packages::is_popular(ecosystem, one) && *one != name);
                }
            }
        }
    }
}
