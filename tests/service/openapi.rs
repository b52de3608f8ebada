//! The `OpenAPI` document, held against the tools that people use it with: validators, and
//! generators whose code has to compile.

use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_test_support::registries::{node_modules_with, python_with};
use serde_json::Value;
use tempfile::TempDir;

use crate::SHARED;

/// The folder for programs that are installed once.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

/// Returns a folder with the document of the server.
fn document() -> TempDir {
    let folder = TempDir::new().unwrap();
    let answer = SHARED.ask("GET", "/openapi.json").no_token().send();
    answer.is(200);
    std::fs::write(folder.path().join("openapi.json"), answer.body).unwrap();
    folder
}

fn python() -> PathBuf {
    let packages = ["openapi-spec-validator==0.9.0", "openapi-python-client==0.29.1"];
    python_with(INSTALLED, "openapi-python", &packages)
}

/// Returns the folder of the programs of npm. Each runs with Node.js 20.19 and later.
fn node() -> PathBuf {
    let packages = [
        "@redocly/cli@2.77.0",
        "openapi-typescript@7.13.0",
        "@hey-api/openapi-ts@0.90.0",
        "typescript@5.9.3",
    ];
    node_modules_with(INSTALLED, "openapi-node", &packages).join("node_modules")
}

fn output(command: &mut Command, folder: &Path) -> String {
    let output = command
        .current_dir(folder)
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

#[test]
fn validators_find_nothing() {
    let (folder, python, node) = (document(), python(), node());
    let folder = folder.path();
    output(
        Command::new(python.with_file_name("openapi-spec-validator")).arg("openapi.json"),
        folder,
    );
    // The recommended rules, and that each example fits its schema.
    let rules = "extends: [recommended]\nrules: {no-invalid-schema-examples: error}\n";
    std::fs::write(folder.join("redocly.yaml"), rules).unwrap();
    let mut lint = Command::new(node.join(".bin/redocly"));
    let said = output(lint.args(["lint", "openapi.json", "--format=json"]), folder);
    let found: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    assert_eq!(found["totals"]["errors"], 0, "{found}");
    assert_eq!(found["totals"]["warnings"], 0, "{found}");

    // They look: without a description they find something.
    let text = std::fs::read_to_string(folder.join("openapi.json")).unwrap();
    let broken = text.replacen("\"description\":\"A page of runs\"", "\"x-none\":1", 1);
    assert_ne!(broken, text);
    std::fs::write(folder.join("openapi.json"), broken).unwrap();
    assert!(!lint.current_dir(folder).output().unwrap().status.success());
}

#[test]
fn a_python_client_is_generated_and_every_module_of_it_can_be_imported() {
    let (folder, python) = (document(), python());
    let folder = folder.path();
    // Its own formatter is another program, and no part of this.
    std::fs::write(folder.join("config.yaml"), "post_hooks: []\n").unwrap();
    let said = output(
        Command::new(python.with_file_name("openapi-python-client"))
            .args(["generate", "--path", "openapi.json", "--config", "config.yaml"])
            .args(["--output-path", "client", "--meta", "none"]),
        folder,
    );
    // It warns about what it cannot express, and leaves it out.
    assert!(!said.to_lowercase().contains("warning"), "{said}");
    let import = "import importlib, pkgutil, client\n\
                  names = [m.name for m in pkgutil.walk_packages(client.__path__, 'client.')]\n\
                  for name in names: importlib.import_module(name)\n\
                  print(len(names))";
    let count = output(Command::new(python).args(["-c", import]), folder);
    assert!(count.trim().parse::<u32>().unwrap() > 80, "{count}");
}

#[test]
fn typescript_clients_are_generated_and_compile() {
    let (folder, node) = (document(), node());
    let folder = folder.path();
    // Imports are resolved from the folder of the file.
    std::os::unix::fs::symlink(&node, folder.join("node_modules")).unwrap();
    output(
        Command::new(node.join(".bin/openapi-typescript")).args(["openapi.json", "-o", "types.ts"]),
        folder,
    );
    output(
        Command::new(node.join(".bin/openapi-ts")).args(["-i", "openapi.json", "-o", "client"]),
        folder,
    );
    let user = r#"
        import type { components, paths } from "./types";
        import { startRun } from "./client";

        const submission: components["schemas"]["RunSubmission"] = {
            language: "python", code: "6 * 7", wait: true, callback: null,
        };
        type Started = paths["/v1/runs"]["post"]["responses"][200]["content"]["application/json"];
        export const status = (started: Started): string => started.status;
        export const answer = startRun({ body: submission });
    "#;
    std::fs::write(folder.join("user.ts"), user).unwrap();
    let flags = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"];
    output(
        Command::new(node.join(".bin/tsc")).args(flags).args([
            "--module",
            "esnext",
            "--moduleResolution",
            "bundler",
            "user.ts",
        ]),
        folder,
    );
}
