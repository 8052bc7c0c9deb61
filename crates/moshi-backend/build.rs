//! Notes what the binary is built from, for the metadata of calls and `/api/build_info`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A file that is new in the page would otherwise not be put into the binary.
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    if let Some(folder) = output("git", &["rev-parse", "--absolute-git-dir"]) {
        println!("cargo:rerun-if-changed={folder}/HEAD");
    }
    let git = |args: &[&str]| output("git", args);
    // A build is dated by what it is built from, so that the same sources give the same binary.
    let timestamp = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(|| git(&["log", "-1", "--format=%ct"]));
    let date = git(&["log", "-1", "--format=%cs"]);
    set("MOSHI_BUILD_TIMESTAMP", timestamp.clone());
    set("MOSHI_BUILD_DATE", date.clone());
    set("MOSHI_GIT_BRANCH", git(&["rev-parse", "--abbrev-ref", "HEAD"]));
    set("MOSHI_GIT_TIMESTAMP", timestamp);
    set("MOSHI_GIT_DATE", date);
    set("MOSHI_GIT_HASH", git(&["rev-parse", "HEAD"]));
    set("MOSHI_GIT_DESCRIBE", git(&["describe", "--always", "--tags"]));
    set("MOSHI_RUSTC_HOST", std::env::var("HOST").ok());
    set("MOSHI_TARGET", std::env::var("TARGET").ok());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set("MOSHI_RUSTC_VERSION", output(&rustc, &["--version"]));
}

fn set(name: &str, value: Option<String>) {
    println!("cargo:rustc-env={name}={}", value.unwrap_or_else(|| "unknown".to_owned()));
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
