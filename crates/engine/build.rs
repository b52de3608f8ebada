//! Builds the native library for the runtimes and lists the drivers' files, so that one binary
//! contains all of them.

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
    let libraries = if env::var_os("CARGO_FEATURE_FUZZING").is_some() {
        // Fuzz targets read reports and run nothing.
        let nothing = out.join("nothing");
        fs::write(&nothing, "").expect("OUT_DIR is writable");
        [nothing.clone(), nothing]
    } else {
        let built = build_native(&workspace.join("crates/native"), &out);
        ["libbelljar.so", "libbelljar_interfaces.so"].map(|name| built.join(name))
    };
    let mut code = String::new();
    // Identifies the contents, so that another build's copy is never mistaken for them. SipHash
    // with fixed keys.
    let mut id = DefaultHasher::new();
    for (name, library) in ["NATIVE", "INTERFACES"].iter().zip(&libraries) {
        let path = library.display().to_string();
        let _ = writeln!(code, "pub(crate) const {name}: &[u8] = include_bytes!({path:?});");
        id.write(&fs::read(library).expect("it has just been built"));
    }
    for (name, folder, bundle) in
        [("NODE_DRIVER", "runtimes/node", true), ("PYTHON_DRIVER", "runtimes/python", false)]
    {
        let root =
            workspace.join(folder).canonicalize().expect("the driver is part of the repository");
        println!("cargo::rerun-if-changed={}", root.display());
        let mut files = Vec::new();
        collect(&root, &mut files);
        files.sort();
        if bundle {
            files = bundle_scripts(&root, files, &out);
        }
        let _ = writeln!(code, "pub(crate) const {name}: &[(&str, &[u8])] = &[");
        for file in files {
            id.write(&fs::read(&file).expect("readable"));
            id.write(file.as_os_str().as_encoded_bytes());
            let inside = file
                .strip_prefix(&root)
                .or_else(|_| file.strip_prefix(&out))
                .expect("beneath one of them")
                .display()
                .to_string();
            let _ = writeln!(
                code,
                "    ({inside:?}, include_bytes!({:?})),",
                file.display().to_string()
            );
        }
        code.push_str("];\n");
    }
    let _ = writeln!(code, "pub(crate) const ID: &str = \"{:016x}\";", id.finish());
    fs::write(out.join("carried.rs"), code).expect("OUT_DIR is writable");
}

/// Scripts of Node's driver that few runs need. Merely to parse them with the others would take
/// every start longer (0.3 to 0.5 ms for these).
const RARELY_USED: [&str; 4] = ["call.js", "interop.js", "storage.js", "workers.js"];

/// Puts the scripts of Node's driver into one, `driver.js`: to load each by itself took longer than
/// all that they do. Other files stay as they are.
fn bundle_scripts(root: &Path, files: Vec<PathBuf>, out: &Path) -> Vec<PathBuf> {
    let (scripts, mut others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        let is_script = file.parent() == Some(root)
            && file.extension().is_some_and(|extension| extension == "js");
        is_script && !RARELY_USED.iter().any(|name| file.ends_with(name))
    });
    let mut bundle = String::from(
        "'use strict';\n// The files of runtimes/node, each as the function that Node's loader would make of it.\nconst files = {\n",
    );
    for script in &scripts {
        let name = format!("./{}", script.file_name().expect("a file").display());
        let source = fs::read_to_string(script).expect("UTF-8");
        let _ = writeln!(bundle, "{name:?}: (function (module, require) {{{source}}}),");
    }
    bundle.push_str(
        "};\nconst loaded = { __proto__: null };\nfunction load(name) {\n  if (name[0] !== '.') return require(name);\n  \
         if (loaded[name] === undefined) {\n    const module = { exports: {} };\n    (files[name] ?? read(name))(module, load);\n    \
         loaded[name] = module.exports;\n  }\n  return loaded[name];\n}\n// One of the scripts that stay by themselves.\nfunction read(name) {\n  \
         const filename = `${__dirname}/${name.slice(2)}`;\n  const source = require('node:fs').readFileSync(filename, 'utf8');\n  \
         return require('node:vm').compileFunction(source, ['module', 'require'], { filename });\n}\n\
         if (require.main === module) load('./driver.js').main();\n\
         // In a worker thread.\nelse module.exports = load;\n",
    );
    let bundled = out.join("driver.js");
    fs::write(&bundled, bundle).expect("OUT_DIR is writable");
    others.push(bundled);
    others
}

/// Builds the libraries and returns their folder. A nested cargo with a profile of its own:
/// artifact dependencies are not stable.
fn build_native(source: &Path, out: &Path) -> PathBuf {
    for part in ["native", "native/interfaces", "syntax", "jail", "channel", "access"] {
        println!("cargo::rerun-if-changed={}", source.join("..").join(part).join("src").display());
        println!(
            "cargo::rerun-if-changed={}",
            source.join("..").join(part).join("Cargo.toml").display()
        );
    }
    println!("cargo::rerun-if-changed={}", source.join("Cargo.lock").display());
    let target = env::var("TARGET").expect("cargo sets it");
    // Next to the profiles (`target/PROFILE/build/PACKAGE/out`), so that the dev and the release
    // build share it: it is the same library in both.
    let folder = out.ancestors().nth(4).unwrap_or(out).join("native");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--workspace", "--locked", "--target", &target])
        .arg("--target-dir")
        .arg(&folder);
    cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
    // These settings of the outer cargo are about the outer build.
    for variable in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTFLAGS",
    ] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "building the native library failed");
    folder.join(target).join("release")
}

/// Collects the files of a driver, without its tests and the files that an interpreter has left.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().expect("readable");
        if kind.is_dir() && name != "test" && name != "__pycache__" && name != "node_modules" {
            collect(&path, files);
        } else if kind.is_file()
            && path.extension().is_some_and(|extension| {
                ["js", "mjs", "cjs", "py", "json"].iter().any(|known| extension == *known)
            })
        {
            files.push(path);
        }
    }
}
