//! An environment of one module, for tests of what is imported in advance.

use std::fs;
use std::path::Path;

use belljar_engine::{Environment, Preload, Runtime};
use belljar_protocol::Language;

/// Writes the module into the folder, and gives the environment.
pub fn environment(
    folder: &Path,
    language: Language,
    runtime: &Runtime,
    module: &str,
    source: &str,
    preload: Preload,
) -> Environment {
    if language == Language::Python {
        let version = runtime
            .name
            .split('@')
            .nth(1)
            .unwrap()
            .split('.')
            .take(2)
            .collect::<Vec<_>>()
            .join(".");
        let packages = folder.join(format!("lib/python{version}/site-packages"));
        fs::create_dir_all(&packages).unwrap();
        fs::write(packages.join(format!("{module}.py")), source).unwrap();
    } else {
        fs::create_dir(folder.join(module)).unwrap();
        fs::write(folder.join(module).join("index.js"), source).unwrap();
    }
    // Zygotes are of another user.
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    Environment {
        key: format!("test-{module}"),
        folder: folder.canonicalize().unwrap(),
        place: Environment::place(runtime.kind).to_owned(),
        modules: vec![module.to_owned()],
        preload,
        lease: None,
    }
}
