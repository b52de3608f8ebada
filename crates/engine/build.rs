//! Builds the native library for the runtimes and lists the drivers' files, so that one binary carries them all.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let workspace = manifest.join("../..");
    let library = if env::var_os("CARGO_FEATURE_FUZZING").is_some() {
        // Fuzz targets read reports and run nothing.
        let nothing = out.join("nothing");
        fs::write(&nothing, "").expect("OUT_DIR is writable");
        nothing
    } else {
        build_native(&workspace.join("crates/native"), &out)
    };
    let mut code = format!("pub(crate) const NATIVE: &[u8] = include_bytes!({:?});\n", library.display().to_string());
    // Names what is carried, so that another build's copy is never taken for it. SipHash with fixed keys.
    let mut id = DefaultHasher::new();
    id.write(&fs::read(&library).expect("it has just been built"));
    for (name, folder) in [("NODE_DRIVER", "runtimes/node"), ("PYTHON_DRIVER", "runtimes/python")] {
        let root = workspace.join(folder).canonicalize().expect("the driver is part of the repository");
        println!("cargo::rerun-if-changed={}", root.display());
        let mut files = Vec::new();
        collect(&root, &mut files);
        files.sort();
        let _ = writeln!(code, "pub(crate) const {name}: &[(&str, &[u8])] = &[");
        for file in files {
            id.write(&fs::read(&file).expect("readable"));
            id.write(file.as_os_str().as_encoded_bytes());
            let inside = file.strip_prefix(&root).expect("beneath it").display().to_string();
            let _ = writeln!(code, "    ({inside:?}, include_bytes!({:?})),", file.display().to_string());
        }
        code.push_str("];\n");
    }
    let _ = writeln!(code, "pub(crate) const ID: &str = \"{:016x}\";", id.finish());
    fs::write(out.join("carried.rs"), code).expect("OUT_DIR is writable");
}

/// A nested cargo with the crate's own profile: artifact dependencies are not stable.
fn build_native(source: &Path, out: &Path) -> PathBuf {
    for part in ["native", "syntax", "jail", "channel"] {
        println!("cargo::rerun-if-changed={}", source.join("..").join(part).join("src").display());
        println!("cargo::rerun-if-changed={}", source.join("..").join(part).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", source.join("Cargo.lock").display());
    let target = env::var("TARGET").expect("cargo sets it");
    // Beside the profiles (`target/PROFILE/build/PACKAGE/out`), so that the dev and the release build share it: it is the same library in both.
    let folder = out.ancestors().nth(4).unwrap_or(out).join("native");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target", &target, "--target-dir"]).arg(&folder);
    cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
    // What the outer cargo was told is about the outer build.
    for variable in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "building the native library failed");
    folder.join(target).join("release/libbelljar.so")
}

/// The files of a driver: not its tests, nor what an interpreter has left beside them.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().expect("readable");
        if kind.is_dir() && name != "test" && name != "__pycache__" && name != "node_modules" {
            collect(&path, files);
        } else if kind.is_file()
            && path.extension().is_some_and(|extension| ["js", "mjs", "cjs", "py", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
}
