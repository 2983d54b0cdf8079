//! Notes what the binary is made from: commit, compiler, engine. None of them is needed to build, so
//! nothing here fails.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const ENGINE: &str = "arc-malachitebft-app-channel";
const UNKNOWN: &str = "unknown";

fn main() {
    for path in ["../.git/logs/HEAD", "../Cargo.lock"] {
        // A path that does not exist would run this script at every build.
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    let commit = output(
        "git",
        &[
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
            "--abbrev=12",
        ],
    );
    let compiler = output(
        &env::var("RUSTC").unwrap_or_else(|_| "rustc".into()),
        &["--version"],
    );
    println!(
        "cargo:rustc-env=CIFER_BUILD_COMMIT={}",
        commit.as_deref().unwrap_or(UNKNOWN)
    );
    println!(
        "cargo:rustc-env=CIFER_BUILD_COMPILER={}",
        compiler.as_deref().unwrap_or(UNKNOWN)
    );
    println!(
        "cargo:rustc-env=CIFER_BUILD_ENGINE=malachite {}",
        engine_version().as_deref().unwrap_or(UNKNOWN)
    );
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn engine_version() -> Option<String> {
    let lock = fs::read_to_string("../Cargo.lock").ok()?;
    let (_, after) = lock.split_once(&format!("name = \"{ENGINE}\"\nversion = \""))?;
    after.split_once('"').map(|(version, _)| version.to_owned())
}
