//! What somebody may have meant by the name of a package that cannot be found. For messages only: nothing is installed because it is near.

use strsim::damerau_levenshtein;

use crate::known;
use crate::python_names;
use crate::requirement::Ecosystem;

/// Suggestions in one message.
const MOST_MATCHES: usize = 3;

/// Bytes of a name that is compared. The known ones are much shorter.
const MOST_NAME_BYTES: usize = 64;

/// At most three known names that are near to this one, the nearest first: by the Damerau-Levenshtein distance, where neither separators
/// nor the words count that people leave out, as `python-` in `python-dotenv`. An import name of Python leads to its distribution.
pub fn near_matches(ecosystem: Ecosystem, name: &str) -> Vec<&'static str> {
    let wanted = spellings(ecosystem, name);
    if name.len() > MOST_NAME_BYTES || wanted.is_empty() {
        return Vec::new();
    }
    let known = known::names(ecosystem).iter().map(|known| (*known, *known));
    let imports =
        python_names::all().filter(|_| ecosystem == Ecosystem::PyPi).filter_map(|entry| Some((entry.module, entry.distribution?)));
    let mut matches: Vec<(usize, &str)> = known
        .chain(imports)
        .filter(|(_, package)| *package != name)
        .filter_map(|(spelling, package)| Some((distance(&wanted, &spellings(ecosystem, spelling))?, package)))
        .collect();
    matches.sort_unstable();
    let mut names = Vec::new();
    for (distance, package) in &matches {
        // Where one is the same but for its spelling, those that only resemble it are noise.
        if names.len() < MOST_MATCHES && !names.contains(package) && (*distance == 0 || matches[0].0 > 0) {
            names.push(*package);
        }
    }
    names
}

/// The least distance between any two spellings, where it is one that a slip of the hand makes.
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
            Some(damerau_levenshtein(one, other)).filter(|distance| is_possible && *distance <= most)
        })
        .min()
}

/// The name in lower case without separators, and again without the words that are left out or added most.
fn spellings(ecosystem: Ecosystem, name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let (prefixes, suffixes): (&[&str], &[&str]) = match ecosystem {
        Ecosystem::PyPi => (&["python-", "python_", "py-"], &["-python", "_python", "-py", "-binary", "-headless"]),
        Ecosystem::Npm => (&["node-", "js-"], &["-js", ".js", "-node"]),
    };
    let shorter = prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
    let shorter = shorter.chain(suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix)));
    let mut spellings: Vec<String> =
        [name.as_str()].into_iter().chain(shorter).map(compact).filter(|spelling| !spelling.is_empty()).collect();
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
            assert_eq!(near_matches(Ecosystem::PyPi, name).first(), Some(&meant), "{name}");
        }
        for (name, meant) in [
            ("loadsh", "lodash"),
            ("expresss", "express"),
            ("axois", "axios"),
            ("csvparser", "csv-parser"),
            ("@aws-sdk/client-s33", "@aws-sdk/client-s3"),
        ] {
            assert_eq!(near_matches(Ecosystem::Npm, name).first(), Some(&meant), "{name}");
        }
    }

    #[test]
    fn what_resembles_nothing_has_no_matches() {
        for name in ["", "-", "my-very-own-company-thing", "zq", "日本", &"pandas".repeat(100)] {
            assert!(near_matches(Ecosystem::PyPi, name).is_empty(), "{name}");
            assert!(near_matches(Ecosystem::Npm, name).is_empty(), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn matches_are_few_known_and_others_than_the_name(name in "[a-z0-9@/._-]{0,20}|\\PC{0,20}") {
            for ecosystem in [Ecosystem::PyPi, Ecosystem::Npm] {
                let matches = near_matches(ecosystem, &name);
                prop_assert!(matches.len() <= MOST_MATCHES);
                prop_assert!(matches.iter().all(|one| known::is_known(ecosystem, one) && *one != name));
            }
        }
    }
}
