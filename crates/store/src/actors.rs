//! The names of tokens, by which runs and entries of the audit trail are found. A name stays known
//! after its token is gone.

use sqlx::{Row, SqliteConnection};
use strsim::damerau_levenshtein;

use crate::error::StoreError;
use crate::store::Store;

/// The actors that are not tokens. No token may have one of these names.
const OTHER_ACTORS: [&str; 4] = ["operator", "belljar", "anonymous", "signed-url"];
/// The prefixes of ids, which no name of a token may have.
const ID_PREFIXES: [&str; 2] = ["tok_", "run_"];
/// The maximum number of similar names that an error suggests.
const MAX_SUGGESTED: usize = 3;
/// The maximum number of names that are compared with an unknown one.
const MAX_COMPARED: i64 = 5000;

/// Returns whether a name would be mistaken for an id or for an actor that is not a token.
pub fn is_reserved_name(name: &str) -> bool {
    OTHER_ACTORS.contains(&name) || ID_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The projects whose tokens can be named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedIn<'a> {
    /// The project with this id.
    Project(&'a str),
    /// All projects, including deleted ones.
    All,
}

/// The submitter of runs.
pub(crate) struct Submitter {
    /// The name of the token, or the id of an actor without a name.
    pub(crate) name: String,
    /// The id of the token, if only its runs are meant and not those of others with its name.
    pub(crate) token: Option<String>,
}

/// Keeps the name of a new token.
pub(crate) async fn keep_name(
    connection: &mut SqliteConnection,
    id: &str,
    project_id: &str,
    name: &str,
) -> Result<(), StoreError> {
    if is_reserved_name(name) {
        return Ok(());
    }
    sqlx::query("INSERT INTO token_names (id, project_id, name) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(project_id)
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Returns the ids of the actors with a name or id. Fails if it is neither.
    pub(crate) async fn actors(
        &self,
        scope: NamedIn<'_>,
        name: &str,
    ) -> Result<Vec<String>, StoreError> {
        if is_reserved_name(name) {
            return Ok(vec![name.to_owned()]);
        }
        let rows = match scope {
            NamedIn::Project(id) => {
                sqlx::query("SELECT id FROM token_names WHERE project_id = $1 AND name = $2")
                    .bind(id)
                    .bind(name)
                    .fetch_all(&self.readers)
                    .await?
            }
            NamedIn::All => {
                sqlx::query("SELECT id FROM token_names WHERE name = $1")
                    .bind(name)
                    .fetch_all(&self.readers)
                    .await?
            }
        };
        if rows.is_empty() {
            return Err(self.unknown_actor(scope, name).await?);
        }
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Returns the submitter of runs of a project with a name or id. Fails if it is neither.
    pub(crate) async fn submitter(
        &self,
        project_id: &str,
        name: &str,
    ) -> Result<Submitter, StoreError> {
        if is_reserved_name(name) {
            let known: Option<String> = sqlx::query_scalar(
                "SELECT name FROM token_names WHERE project_id = $1 AND id = $2",
            )
            .bind(project_id)
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
            return Ok(match known {
                Some(known) => Submitter { name: known, token: Some(name.to_owned()) },
                None => Submitter { name: name.to_owned(), token: None },
            });
        }
        self.actors(NamedIn::Project(project_id), name).await?;
        Ok(Submitter { name: name.to_owned(), token: None })
    }

    /// Returns the error of an unknown name, with those that are similar to it.
    async fn unknown_actor(
        &self,
        scope: NamedIn<'_>,
        name: &str,
    ) -> Result<StoreError, StoreError> {
        let project = match scope {
            NamedIn::Project(id) => Some(id),
            NamedIn::All => None,
        };
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT name FROM token_names WHERE $1 IS NULL OR project_id = $1 LIMIT $2",
        )
        .bind(project)
        .bind(MAX_COMPARED)
        .fetch_all(&self.readers)
        .await?;
        let known = names.into_iter().chain(OTHER_ACTORS.map(str::to_owned));
        let similar = similar(name, known);
        Ok(StoreError::UnknownActor {
            name: name.chars().filter(|c| !c.is_control()).take(100).collect(),
            similar,
        })
    }
}

/// Returns the names that are similar to a name, the most similar first.
fn similar(name: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let name: String = name.to_lowercase().chars().take(100).collect();
    let most = (name.chars().count() / 3).max(1);
    let mut near: Vec<(usize, String)> = known
        .filter_map(|known| {
            let lower = known.to_lowercase();
            let contains = name.len() > 1 && lower.contains(&name);
            let distance = damerau_levenshtein(&name, &lower);
            (contains || distance <= most).then_some((distance, known))
        })
        .collect();
    near.sort();
    near.truncate(MAX_SUGGESTED);
    near.into_iter().map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let known = || ["ci-nightly", "ci", "first", "dashboard"].map(str::to_owned).into_iter();
        assert_eq!(similar("frist", known()), ["first"]);
        assert_eq!(similar("nightly", known()), ["ci-nightly"]);
        assert_eq!(similar("CI", known()), ["ci", "ci-nightly"]);
        assert!(similar("elsewhere", known()).is_empty());
    }

    #[test]
    fn a_token_cannot_pose_as_another_actor() {
        for reserved in ["operator", "belljar", "tok_1", "run_1"] {
            assert!(is_reserved_name(reserved), "{reserved}");
        }
        assert!(!is_reserved_name("operators") && !is_reserved_name("token"));
    }
}
