//! Environment variables that the caller of a run passes to its program.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// Environment variables by name. They are the caller's own data, and often keys: `Debug` shows the
/// names only.
///
/// ```
/// let variables: belljar_protocol::Variables =
///     serde_json::from_str(r#"{"API_KEY": "abc123", "CITY": "Oslo"}"#).unwrap();
/// assert!(variables.check().is_ok());
/// assert_eq!(format!("{variables:?}"), r#"["API_KEY", "CITY"]"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
#[serde(transparent)]
pub struct Variables(BTreeMap<String, String>);

/// An environment variable that no program can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    /// The name is empty, or it contains `=` or a NUL byte.
    #[error("`{}` is not a valid name of an environment variable", .0.escape_debug())]
    Name(String),
    /// The value of the variable with this name contains a NUL byte.
    #[error("the value of `{}` contains a NUL byte", .0.escape_debug())]
    Value(String),
    /// The variables are too large.
    #[error("the variables have {0} bytes, which exceeds the limit of {max}", max = Variables::MAX_BYTES)]
    TooLarge(usize),
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Deref for Variables {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl From<BTreeMap<String, String>> for Variables {
    fn from(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }
}

impl Variables {
    /// The maximum size of all names and values together.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Returns the names in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Returns the size of all names and values together.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Checks that a program can have these variables.
    pub fn check(&self) -> Result<(), InvalidVariable> {
        check_variables(&self.0)?;
        match self.size_bytes() {
            size if size > Self::MAX_BYTES => Err(InvalidVariable::TooLarge(size)),
            _ => Ok(()),
        }
    }
}

/// Checks the names and the values of environment variables.
pub(crate) fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), InvalidVariable> {
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(InvalidVariable::Name(name.clone()));
        }
        if value.contains('\0') {
            return Err(InvalidVariable::Value(name.clone()));
        }
    }
    Ok(())
}

/// Returns whether a list of names contains a name. A `*` at the end of an entry stands for any
/// rest.
pub(crate) fn is_named(name: &str, names: &[String]) -> bool {
    names.iter().any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == entry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str, value: &str) -> Variables {
        BTreeMap::from([(name.to_owned(), value.to_owned())]).into()
    }

    #[test]
    fn names_and_values_are_checked() {
        assert_eq!(variables("A", "1=2\n").check(), Ok(()));
        for bad in ["", "A=B", "A\0"] {
            let error = variables(bad, "secret").check().unwrap_err();
            assert_eq!(error, InvalidVariable::Name(bad.into()));
            assert!(!error.to_string().contains("secret"));
        }
        let error = variables("A", "secret\0").check().unwrap_err();
        assert_eq!(error.to_string(), "the value of `A` contains a NUL byte");
        let most = "x".repeat(Variables::MAX_BYTES - 1);
        assert_eq!(variables("A", &most).check(), Ok(()));
        let error = variables("AB", &most).check().unwrap_err();
        assert_eq!(error, InvalidVariable::TooLarge(Variables::MAX_BYTES + 1));
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let debug = format!("{:?} {:#?}", variables("A", "secret"), variables("A", "secret"));
        assert!(debug.contains("\"A\"") && !debug.contains("secret"), "{debug}");
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_name() {
        let names: Vec<String> = ["CITY", "APP_*"].map(str::to_owned).into();
        for (name, is_in) in
            [("CITY", true), ("CITY2", false), ("APP_", true), ("APP_KEY", true), ("APP", false)]
        {
            assert_eq!(is_named(name, &names), is_in, "{name}");
        }
        assert!(is_named("ANY", &["*".to_owned()]) && !is_named("ANY", &[]));
    }
}
