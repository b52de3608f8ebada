//! Names of public types are unique in the workspace.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use syn::{Item, Visibility};

use super::Finding;
use super::sources::{Source, Sources};

/// Finds public types of the workspace that share a name.
pub(crate) fn check(sources: &Sources) -> Result<Vec<Finding>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources.with_extension(&["rs"]) {
        if !source.path.starts_with("crates/") || !source.path.contains("/src/") {
            continue;
        }
        let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
        public_types(&file.items, source, &mut types);
    }
    types.retain(|_, places| places.len() > 1);
    Ok(types
        .into_iter()
        .map(|(name, places)| {
            let message = format!("the public type `{name}` is also in {}", places[1..].join(", "));
            Finding { place: places[0].clone(), message }
        })
        .collect())
}

fn public_types(items: &[Item], source: &Source, types: &mut BTreeMap<String, Vec<String>>) {
    for item in items {
        let (visibility, name) = match item {
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Trait(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            Item::Mod(module) => {
                if let Some((_, items)) = &module.content {
                    public_types(items, source, types);
                }
                continue;
            }
            _ => continue,
        };
        if matches!(visibility, Visibility::Public(_)) {
            let line = name.span().start().line;
            types.entry(name.to_string()).or_default().push(format!("{}:{line}", source.path));
        }
    }
}
