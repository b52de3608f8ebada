//! Requirements of `PyPI`: the part of PEP 508 that requires a package by name and version, with
//! versions of PEP 440. Source: the packaging specifications "Dependency specifiers", "Version
//! specifiers" and "Names and normalization".

use std::cmp::Ordering;
use std::fmt;

use belljar_protocol::Ecosystem;

use super::error::{RequirementError, bounded};

/// Endings of file names. An installer might look for a file with such a name.
const FILE_ENDINGS: [&str; 8] =
    [".whl", ".zip", ".tar", ".tar.gz", ".tar.bz2", ".tgz", ".txt", ".toml"];

/// A distribution with its extras, versions and marker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PyPiRequirement {
    name: String,
    /// Extras: normalized, sorted, without duplicates.
    extras: Vec<String>,
    specifiers: VersionSpecifiers,
    /// The marker with single spaces, or an empty text.
    marker: String,
}

impl PyPiRequirement {
    /// Parses a requirement. `name=1.2.3` and `name@1.2.3` mean `name==1.2.3`.
    pub fn parse(text: &str) -> Result<Self, RequirementError> {
        let text = bounded(text)?;
        if text.starts_with('-') {
            return Err(RequirementError::InstallerOption { text: text.to_owned() });
        }
        let reference = || RequirementError::Reference { text: text.to_owned() };
        if text.starts_with(['.', '/', '~', '\\']) || text.contains("://") || text.contains('\\') {
            return Err(reference());
        }
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let rest = rest.trim_start();
        if rest.starts_with(['/', ':'])
            || FILE_ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
        {
            return Err(reference());
        }
        let name = normalized_or_error(name)?;
        let (extras, rest) = split_extras(rest, text)?;
        let (versions, marker) = match rest.split_once(';') {
            Some((versions, marker)) => (versions.trim(), plain_marker(marker)?),
            None => (rest, String::new()),
        };
        let specifiers = match versions.strip_prefix('@') {
            Some(version) if version.contains(['/', ':']) => return Err(reference()),
            Some(version) => VersionSpecifiers::pinned(version.trim())?,
            None => VersionSpecifiers::of_requirement(versions)?,
        };
        Ok(Self { name, extras, specifiers, marker })
    }

    /// Returns a requirement for any version of a distribution.
    pub fn any(name: &str) -> Result<Self, RequirementError> {
        let name = normalized_or_error(bounded(name)?)?;
        Ok(Self {
            name,
            extras: Vec::new(),
            specifiers: VersionSpecifiers::default(),
            marker: String::new(),
        })
    }

    /// Returns the name as PEP 503 normalizes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the marker, such as `python_version < "3.12"`. Only its characters are checked, and
    /// the resolver evaluates it.
    pub fn marker(&self) -> Option<&str> {
        Some(self.marker.as_str()).filter(|marker| !marker.is_empty())
    }

    /// Returns whether it restricts the versions.
    pub(crate) fn names_versions(&self) -> bool {
        !self.specifiers.is_any()
    }

    /// Returns the same requirement for another distribution.
    pub(crate) fn of(&self, name: &str) -> Result<Self, RequirementError> {
        Ok(Self { name: normalized_or_error(name)?, ..self.clone() })
    }

    /// Returns whether it requires only the distribution itself.
    pub fn is_any(&self) -> bool {
        self.extras.is_empty() && self.specifiers.is_any() && self.marker.is_empty()
    }
}

/// The line of a `requirements.in` for uv: `name[extra]<3,>=2 ; python_version < "3.12"`.
impl fmt::Display for PyPiRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras.join(","))?;
        }
        self.specifiers.fmt(f)?;
        if self.marker.is_empty() { Ok(()) } else { write!(f, " ; {}", self.marker) }
    }
}

/// A set of version specifiers, all of which must hold, such as `>=2,<3`. The empty set allows any
/// version. The specifiers are sorted, without duplicates and white space.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionSpecifiers(Vec<String>);

const EXAMPLE: &str = "name>=1.2,<2";

impl VersionSpecifiers {
    /// Parses specifiers separated by commas, as in `requires-python`. White space is the empty
    /// set.
    pub fn parse(text: &str) -> Result<Self, RequirementError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        // PEP 440 has no empty specifier, but the packaging library accepts a comma at the end.
        let list = text.strip_suffix(',').unwrap_or(text);
        let mut specifiers =
            list.split(',').map(|one| specifier(one.trim())).collect::<Result<Vec<_>, _>>()?;
        specifiers.sort_unstable();
        specifiers.dedup();
        Ok(Self(specifiers))
    }

    /// Parses the text after a name: a list, one in parentheses as PEP 508 still allows, or
    /// `=1.2.3`.
    fn of_requirement(text: &str) -> Result<Self, RequirementError> {
        if let Some(inner) =
            text.strip_prefix('(').and_then(|rest| rest.trim_end().strip_suffix(')'))
        {
            return Self::parse(inner);
        }
        match text.strip_prefix('=') {
            Some(version) if !version.starts_with('=') => Self::pinned(version.trim()),
            _ => Self::parse(text),
        }
    }

    /// Returns the specifier of exactly one version, or of a prefix such as `1.2.*`.
    fn pinned(version: &str) -> Result<Self, RequirementError> {
        specifier(&format!("=={version}")).map(|one| Self(vec![one]))
    }

    /// Returns whether any version is acceptable.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a released version is acceptable, such as 3.11.7 of an interpreter.
    pub fn accept(&self, version: &[u32]) -> bool {
        self.0.iter().all(|specifier| accepts(specifier, version))
    }
}

/// Returns whether a canonical specifier accepts a released version (PEP 440, "Version
/// specifiers").
fn accepts(specifier: &str, version: &[u32]) -> bool {
    let Some((operator, text)) =
        OPERATORS.iter().find_map(|operator| Some((*operator, specifier.strip_prefix(operator)?)))
    else {
        return false;
    };
    let (text, is_prefix) = text.strip_suffix(".*").map_or((text, false), |prefix| (prefix, true));
    let digits = |part: &str| {
        part.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse::<u32>()
            .unwrap_or(0)
    };
    let wanted: Vec<u32> = text.split('.').map(digits).collect();
    let begins = |length: usize| {
        (0..length).all(|at| version.get(at).unwrap_or(&0) == wanted.get(at).unwrap_or(&0))
    };
    let order = (0..version.len().max(wanted.len()))
        .map(|at| version.get(at).unwrap_or(&0).cmp(wanted.get(at).unwrap_or(&0)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal);
    match operator {
        "==" if is_prefix => begins(wanted.len()),
        "!=" if is_prefix => !begins(wanted.len()),
        "==" | "===" => order.is_eq(),
        "!=" => order.is_ne(),
        "~=" => order.is_ge() && begins(wanted.len() - 1),
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_lt(),
    }
}

impl fmt::Display for VersionSpecifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// The longest operators come first, so that none is mistaken for the beginning of another.
const OPERATORS: [&str; 8] = ["===", "==", "!=", "~=", ">=", "<=", ">", "<"];

/// Returns a specifier in its canonical spelling.
fn specifier(text: &str) -> Result<String, RequirementError> {
    let error = |why| RequirementError::Version {
        ecosystem: Ecosystem::PyPi,
        text: text.to_owned(),
        why,
        example: EXAMPLE,
    };
    let Some((operator, version)) = OPERATORS
        .iter()
        .find_map(|operator| Some((*operator, text.strip_prefix(operator)?.trim())))
    else {
        return Err(error("it has no operator such as == or >="));
    };
    if operator == "===" {
        let plain = !version.is_empty()
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+!".contains(&b));
        return if plain {
            Ok(format!("==={version}"))
        } else {
            Err(error("only letters, digits and ._-+! are allowed"))
        };
    }
    let version = version.to_ascii_lowercase();
    let (exact, is_prefix) = match version.strip_suffix(".*") {
        Some(prefix) => (prefix, true),
        None => (version.as_str(), false),
    };
    let Some(parts) = version_parts(exact) else {
        return Err(error("it is not a version of PEP 440, such as 1.2.3 or 2.0rc1"));
    };
    if is_prefix && (!matches!(operator, "==" | "!=") || parts.has_development || parts.has_local) {
        return Err(error(".* is only allowed after == and != and a plain version"));
    }
    if parts.has_local && !matches!(operator, "==" | "!=") {
        return Err(error("a local version, with a +, is only allowed after == and !="));
    }
    if operator == "~=" && parts.release_numbers < 2 {
        return Err(error("~= needs at least two numbers, as in ~=1.2"));
    }
    Ok(format!("{operator}{version}"))
}

/// The parts of a version of PEP 440 that determine which operators it may follow.
struct VersionParts {
    release_numbers: usize,
    has_development: bool,
    has_local: bool,
}

/// Parses a lower-case version by the grammar of PEP 440's appendix B:
/// `[v][N!]N(.N)*[pre][post][.devN][+local]`.
fn version_parts(version: &str) -> Option<VersionParts> {
    let (public, local) = match version.split_once('+') {
        Some((public, local)) => (public, Some(local)),
        None => (version, None),
    };
    let well_formed = |local: &str| {
        local
            .split(['.', '-', '_'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    if local.is_some_and(|local| !well_formed(local)) {
        return None;
    }
    let public = public.strip_prefix('v').unwrap_or(public);
    let release = match public.split_once('!') {
        Some((epoch, release)) => Some(release)
            .filter(|_| !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()))?,
        None => public,
    };
    let (release_numbers, mut rest) = release_part(release)?;
    rest = suffix_part(rest, &["alpha", "a", "beta", "b", "preview", "pre", "c", "rc"])
        .unwrap_or(rest);
    let implicit_post = rest.strip_prefix('-').and_then(after_digits);
    rest = implicit_post.or_else(|| suffix_part(rest, &["post", "rev", "r"])).unwrap_or(rest);
    let development = suffix_part(rest, &["dev"]);
    rest = development.unwrap_or(rest);
    rest.is_empty().then_some(VersionParts {
        release_numbers,
        has_development: development.is_some(),
        has_local: local.is_some(),
    })
}

/// Parses `N(.N)*`. Returns the number of numbers and the rest.
fn release_part(text: &str) -> Option<(usize, &str)> {
    let mut rest = after_digits(text)?;
    let mut count = 1;
    while let Some(after) = rest.strip_prefix('.').and_then(after_digits) {
        count += 1;
        rest = after;
    }
    Some((count, rest))
}

/// Parses `[-_.]?word[-_.]?N?`. Returns the rest, or `None` if the text does not begin like this.
fn suffix_part<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    let unseparated = text.strip_prefix(['-', '_', '.']).unwrap_or(text);
    let rest = words.iter().find_map(|word| unseparated.strip_prefix(word))?;
    Some(after_digits(rest.strip_prefix(['-', '_', '.']).unwrap_or(rest)).unwrap_or(rest))
}

/// Returns the text after leading digits, or `None` if there are none.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

/// Returns the name as PEP 503 normalizes it, in lower case and with each run of `-`, `_` and `.`
/// as one `-`. Returns `None` if PEP 508 does not allow it.
pub(crate) fn normalized(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let ends_well = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !ends_well || !name.bytes().all(allowed) {
        return None;
    }
    let parts: Vec<&str> = name.split(['.', '_', '-']).filter(|part| !part.is_empty()).collect();
    Some(parts.join("-").to_ascii_lowercase())
}

fn normalized_or_error(name: &str) -> Result<String, RequirementError> {
    normalized(name).ok_or_else(|| RequirementError::Name {
        ecosystem: Ecosystem::PyPi,
        name: name.to_owned(),
        why: "names consist of letters and digits, with ._- between them",
    })
}

/// Splits `[a,b]` off the beginning.
fn split_extras<'a>(rest: &'a str, text: &str) -> Result<(Vec<String>, &'a str), RequirementError> {
    let Some(inner) = rest.strip_prefix('[') else { return Ok((Vec::new(), rest)) };
    let error = |why| RequirementError::Version {
        ecosystem: Ecosystem::PyPi,
        text: text.to_owned(),
        why,
        example: "name[extra]>=1.2",
    };
    let Some((list, after)) = inner.split_once(']') else {
        return Err(error("the bracket of the extras is not closed"));
    };
    let mut extras = Vec::new();
    for extra in list.split(',').map(str::trim).filter(|extra| !extra.is_empty()) {
        extras.push(normalized(extra).ok_or_else(|| error("an extra is not a valid name"))?);
    }
    extras.sort_unstable();
    extras.dedup();
    Ok((extras, after.trim()))
}

/// Returns the marker with single spaces. It fails if the marker contains characters that could
/// have a meaning in an installer's input, or unbalanced quotes or parentheses.
fn plain_marker(marker: &str) -> Result<String, RequirementError> {
    let error = |why| RequirementError::Marker { marker: marker.trim().to_owned(), why };
    let words: Vec<&str> = marker.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let plain = words.join(" ");
    if plain.is_empty() {
        return Err(error("it is empty"));
    }
    if !plain.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._<>=!~'\"(),-+*".contains(&b)) {
        return Err(error("it has a character that markers do not use"));
    }
    let (mut quote, mut depth) = (None, 0_i32);
    for byte in plain.bytes() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            (None, b'(') => depth += 1,
            (None, b')') => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return Err(error("a parenthesis is not opened"));
        }
    }
    if quote.is_some() || depth != 0 {
        return Err(error("a quote or a parenthesis is not closed"));
    }
    Ok(plain)
}

#[cfg(test)]
mod accept_tests {
    use super::*;

    #[test]
    fn released_versions_are_among_those_that_a_program_is_for() {
        for (specifiers, version, expected) in [
            ("", [3, 11, 7], true),
            (">=3.11", [3, 11, 7], true),
            (">=3.12", [3, 11, 7], false),
            (">=3.10,<3.12", [3, 11, 7], true),
            (">=3.10,<3.11", [3, 11, 7], false),
            ("==3.11.*", [3, 11, 7], true),
            ("==3.1.*", [3, 11, 7], false),
            ("!=3.11.7", [3, 11, 7], false),
            ("~=3.10", [3, 11, 7], true),
            ("~=3.11.8", [3, 11, 7], false),
            ("~=3.10.0", [3, 11, 0], false),
            (">3.11", [3, 11, 7], true),
            ("<=3.11", [3, 11, 7], false),
        ] {
            assert_eq!(
                VersionSpecifiers::parse(specifiers).unwrap().accept(&version),
                expected,
                "{specifiers} {version:?}"
            );
        }
    }
}
