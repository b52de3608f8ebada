//! Circles of files within a crate: files that import each other, directly or through other files.
//!
//! An arrow leads from a file to each file of its crate whose items it names, in a `use` or by a
//! path. Re-exports are followed to the file that defines the item. `mod` declarations and test
//! code do not count.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, Path, UseTree, Visibility};

use super::Finding;
use super::sources::Sources;

/// A module's path within its crate: empty for the root.
type Module = Vec<String>;

/// The files of a crate, by module.
#[derive(Default)]
struct Crate {
    files: BTreeMap<Module, (String, File)>,
}

/// Finds the circles of each crate.
pub(crate) fn check(sources: &Sources) -> Result<Vec<Finding>> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for source in sources.with_extension(&["rs"]) {
        let Some((root, path)) = source.path.split_once("/src/") else { continue };
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        if is_test || path == "main.rs" && sources_have_library(sources, root) {
            continue;
        }
        let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
        let members = crates.entry(root.to_owned()).or_default();
        members.files.insert(module(path), (source.path.clone(), file));
    }
    Ok(crates.values().flat_map(Crate::circles).collect())
}

fn sources_have_library(sources: &Sources, root: &str) -> bool {
    let library = format!("{root}/src/lib.rs");
    sources.with_extension(&["rs"]).any(|source| source.path == library)
}

/// The module that a file contains, from the file's path beneath `src`.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let parts = path.split('/').filter(|part| !["lib", "main", "mod"].contains(part));
    parts.map(str::to_owned).collect()
}

impl Crate {
    fn circles(&self) -> Vec<Finding> {
        let arrows: BTreeMap<&Module, BTreeSet<Module>> = self
            .files
            .iter()
            .map(|(module, (_, file))| (module, self.arrows_of(module, file)))
            .collect();
        let mut found: Vec<BTreeSet<&Module>> = Vec::new();
        for &start in arrows.keys() {
            if found.iter().any(|circle| circle.contains(start)) {
                continue;
            }
            let reached = reached_from(start, &arrows);
            let circle: BTreeSet<&Module> = reached
                .iter()
                .copied()
                .filter(|module| reached_from(module, &arrows).contains(start))
                .collect();
            if circle.contains(start) {
                found.push(circle);
            }
        }
        found.iter().map(|circle| self.finding(circle, &arrows)).collect()
    }

    fn finding(
        &self,
        circle: &BTreeSet<&Module>,
        arrows: &BTreeMap<&Module, BTreeSet<Module>>,
    ) -> Finding {
        let name = |module: &Module| module.last().map_or("(root)", String::as_str).to_owned();
        let parts: Vec<String> = circle
            .iter()
            .map(|&from| {
                let within = arrows[from].iter().filter(|to| circle.contains(to));
                let to: Vec<String> = within.map(name).collect();
                format!("{} -> {}", name(from), to.join(", "))
            })
            .collect();
        let first = circle.first().map_or("", |module| self.files[*module].0.as_str());
        Finding::new(first, 1, format!("a circle of {} files: {}", circle.len(), parts.join("; ")))
    }

    fn arrows_of(&self, module: &Module, file: &File) -> BTreeSet<Module> {
        let mut paths = Paths { module: module.clone(), named: Vec::new() };
        paths.visit_file(file);
        let targets = paths.named.iter().filter_map(|(path, _)| self.defining_file(path, 8));
        targets.filter(|target| target != module).collect()
    }

    /// The file that defines the item at a path from the crate's root.
    fn defining_file(&self, path: &[String], depth: usize) -> Option<Module> {
        let length =
            (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let (module, rest) = path.split_at(length);
        let Some(name) = rest.first() else { return Some(module.to_vec()) };
        let (_, file) = &self.files[module];
        let mut paths = Paths { module: module.to_vec(), named: Vec::new() };
        for item in &file.items {
            if let Item::Use(item) = item {
                paths.visit_item_use(item);
            }
        }
        let exported = paths.named.iter().find(|(_, alias)| alias.as_ref() == Some(name));
        match exported {
            Some((target, _)) if depth > 0 => self.defining_file(target, depth - 1),
            _ => Some(module.to_vec()),
        }
    }
}

fn reached_from<'a>(
    start: &'a Module,
    arrows: &BTreeMap<&'a Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(module) = waiting.pop() {
        for target in &arrows[module] {
            let Some((&target, _)) = arrows.get_key_value(target) else { continue };
            if reached.insert(target) {
                waiting.push(target);
            }
        }
    }
    reached
}

/// The items of its own crate that a file names: each as a path from the root, and for a re-export
/// with the name that it is exported under.
struct Paths {
    module: Module,
    named: Vec<(Vec<String>, Option<String>)>,
}

impl Paths {
    /// The path from the crate's root, or `None` for a path into another crate.
    fn path_from_root(&self, path: &[String]) -> Option<Vec<String>> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.module[..], &path[1..]].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = self.module.len().checked_sub(ups)?;
                Some([&self.module[..base], &path[ups..]].concat())
            }
            _ => None,
        }
    }

    fn tree(&mut self, tree: &UseTree, mut before: Vec<String>, is_public: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, is_public);
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let alias = (name != "self").then(|| name.clone());
                if let Some(alias) = &alias {
                    before.push(alias.clone());
                }
                self.used(before, alias, is_public);
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.used(before, Some(rename.rename.to_string()), is_public);
            }
            UseTree::Glob(_) => self.used(before, None, is_public),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before.clone(), is_public);
                }
            }
        }
    }

    fn used(&mut self, path: Vec<String>, alias: Option<String>, is_public: bool) {
        // `pub use child::Item` without `self`: only a re-export can begin with a child's name.
        let path = self
            .path_from_root(&path)
            .or_else(|| is_public.then(|| [&self.module[..], &path[..]].concat()));
        if let Some(path) = path {
            self.named.push((path, alias.filter(|_| is_public)));
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            let is_public = !matches!(item.vis, Visibility::Inherited);
            self.tree(&item.tree, Vec::new(), is_public);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(path) = self.path_from_root(&parts).filter(|_| parts.len() > 1) {
            self.named.push((path, None));
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if is_for_tests(&module.attrs) || module.content.is_none() {
            return;
        }
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test =
            |text: String| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test");
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| is_test(list.tokens.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut one = Crate::default();
        for (path, text) in files {
            let file = syn::parse_file(text).unwrap();
            one.files.insert(module(path), ((*path).to_owned(), file));
        }
        one.circles().into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { super::a::A; }"),
        ]);
        assert_eq!(found, ["a circle of 2 files: a -> b; b -> a"]);
    }

    #[test]
    fn a_re_export_leads_to_the_file_that_defines_the_item() {
        let root = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        let straight = [root, ("a.rs", "use crate::B; pub struct A;"), ("b.rs", "pub struct B;")];
        assert_eq!(circles(&straight), [""; 0]);
        let round = [root, ("a.rs", "use crate::B;"), ("b.rs", "use crate::A;")];
        assert_eq!(circles(&round), ["a circle of 2 files: a -> b; b -> a"]);
    }

    #[test]
    fn tests_and_declarations_of_modules_are_no_arrows() {
        let found = circles(&[
            ("lib.rs", "pub mod a;"),
            ("a.rs", "mod child; use self::child::C; pub struct A;"),
            ("a/child.rs", "pub struct C; #[cfg(test)] mod tests { use super::super::A; }"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
