//! The bill of materials, as `CycloneDX` 1.6 JSON: every crate that is linked into the binary or
//! the native library.
//!
//! Build scripts, procedural macros and test dependencies are omitted because they are not shipped;
//! the output of procedural macros counts as the project's own code. Runtimes are not part of a
//! release: they are found on the machine, or fetched and verified by hashes in the binary.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Returns the bill of materials as JSON. Each part is the output of `cargo metadata` with the
/// matching lock file, and the first part is the binary's.
pub fn sbom(parts: &[(&Value, &str)]) -> Result<String> {
    let mut components = BTreeMap::new();
    let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (metadata, lock) in parts {
        let checksums = checksums(lock);
        let shipped = Shipped::of(metadata)?;
        for (id, needs) in &shipped.nodes {
            let package = shipped.packages[id];
            let reference = reference(package);
            dependencies
                .entry(reference.clone())
                .or_default()
                .extend(needs.iter().map(|id| self::reference(shipped.packages[id])));
            components.insert(reference, component(package, &checksums)?);
        }
    }
    let version = version_of(parts[0].0, "belljar")?;
    let root = format!("belljar@{version}");
    // The trusted drivers of the sandboxes, which are embedded in the engine too.
    for driver in ["belljar-driver-node", "belljar-driver-python"] {
        let reference = format!("{driver}@{version}");
        let license = json!([{"expression": "Apache-2.0"}]);
        let component = json!({"type": "library", "bom-ref": reference, "name": driver, "version": version, "licenses": license});
        components.insert(reference, component);
    }
    // Cargo does not know that the engine depends on the components embedded in it.
    let is_embedded =
        |name: &&String| name.starts_with("belljar-native@") || name.starts_with("belljar-driver-");
    let embedded: Vec<String> = components.keys().filter(is_embedded).cloned().collect();
    for (name, needs) in &mut dependencies {
        if name.starts_with("belljar-engine@") {
            needs.extend(embedded.iter().cloned());
        }
    }
    let main =
        components.remove(&root).with_context(|| format!("{root} is not among its own crates"))?;
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main, "lifecycles": [{"phase": "build"}]},
        "components": components.values().collect::<Vec<_>>(),
        "dependencies": dependencies.iter().map(|(name, needs)| json!({"ref": name, "dependsOn": needs})).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// The version of a package of the workspace.
pub fn version_of(metadata: &Value, name: &str) -> Result<String> {
    let package =
        packages(metadata).find(|package| package["name"] == name && package["source"].is_null());
    package
        .and_then(|package| package["version"].as_str())
        .map(str::to_owned)
        .with_context(|| format!("cargo knows no package {name}"))
}

/// The packages that are linked into the root package, with the dependencies of each.
struct Shipped<'a> {
    packages: HashMap<&'a str, &'a Value>,
    nodes: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Shipped<'a> {
    fn of(metadata: &'a Value) -> Result<Self> {
        let packages: HashMap<&str, &Value> = packages(metadata)
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let resolved: HashMap<&str, &Value> = metadata["resolve"]["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| Some((node["id"].as_str()?, node)))
            .collect();
        let is_root = |package: &Value| {
            package["source"].is_null()
                && (package["name"] == "belljar" || package["name"] == "belljar-native")
        };
        let root = packages
            .iter()
            .find(|(_, package)| is_root(package))
            .map(|(id, _)| *id)
            .context("no belljar among the packages")?;
        let mut nodes = BTreeMap::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if nodes.contains_key(id) {
                continue;
            }
            let node = resolved.get(id).with_context(|| format!("cargo has not resolved {id}"))?;
            let needs: Vec<&str> = node["deps"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|dependency| {
                    dependency["dep_kinds"]
                        .as_array()
                        .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
                })
                .filter_map(|dependency| dependency["pkg"].as_str())
                .filter(|id| packages.get(id).is_some_and(|package| !is_macro(package)))
                .collect();
            open.extend(&needs);
            nodes.insert(id, needs);
        }
        Ok(Self { packages, nodes })
    }
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn is_macro(package: &Value) -> bool {
    let kinds = package["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|target| target["kind"].as_array());
    kinds.flatten().any(|kind| kind == "proc-macro")
}

fn reference(package: &Value) -> String {
    format!(
        "{}@{}",
        package["name"].as_str().unwrap_or_default(),
        package["version"].as_str().unwrap_or_default()
    )
}

fn component(package: &Value, checksums: &HashMap<String, String>) -> Result<Value> {
    let name = package["name"].as_str().context("a package has a name")?;
    let version = package["version"].as_str().context("a package has a version")?;
    let mut component = json!({
        "type": if name == "belljar" { "application" } else { "library" },
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
    });
    if let Some(license) = package["license"].as_str() {
        // Old crates separate alternatives by a slash, which SPDX does not allow.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&reference(package)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    Ok(component)
}

/// Maps `name@version` to the checksum of the crate's archive, from a Cargo.lock in the layout that
/// cargo writes, with one key per line.
fn checksums(lock: &str) -> HashMap<String, String> {
    let of = |block: &str, key: &str| {
        block.lines().find_map(|line| {
            Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
        })
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| {
            Some((
                format!("{}@{}", of(block, "name")?, of(block, "version")?),
                of(block, "checksum")?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, source: Option<&str>, kind: &str) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0", "targets": [{"kind": [kind]}]})
    }

    fn needs(name: &str, kind: Option<&str>) -> Value {
        json!({"pkg": name, "dep_kinds": [{"kind": kind}]})
    }

    #[test]
    fn only_what_is_linked_is_listed_and_with_its_checksum() {
        let registry = Some("registry+x");
        let metadata = json!({
            "packages": [package("belljar", None, "bin"), package("linked", registry, "lib"), package("tests", registry, "lib"),
                package("macros", registry, "proc-macro"), package("script", registry, "lib")],
            "resolve": {"nodes": [
                {"id": "belljar", "deps": [needs("linked", None), needs("tests", Some("dev")), needs("macros", None), needs("script", Some("build"))]},
                {"id": "linked", "deps": []},
            ]},
        });
        let native = json!({
            "packages": [package("belljar-native", None, "cdylib"), package("inner", registry, "lib")],
            "resolve": {"nodes": [{"id": "belljar-native", "deps": [needs("inner", None)]}, {"id": "inner", "deps": []}]},
        });
        let lock = "version = 4\n\n[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let document: Value =
            serde_json::from_str(&sbom(&[(&metadata, lock), (&native, "")]).unwrap()).unwrap();
        let names: Vec<_> = document["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| component["name"].clone())
            .collect();
        assert_eq!(
            names,
            ["belljar-driver-node", "belljar-driver-python", "belljar-native", "inner", "linked"]
        );
        assert_eq!(document["metadata"]["component"]["name"], "belljar");
        assert_eq!(document["components"][4]["hashes"][0]["content"], "abc");
        assert_eq!(document["components"][4]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(version_of(&metadata, "belljar").unwrap(), "1.0.0");
        assert!(version_of(&metadata, "other").is_err());
    }
}
