//! What this binary was built from, as its build script found it.

use moshi_protocol::BuildInfo;

/// The build's facts; what was unknown at build time is `unknown`.
pub fn build_info() -> BuildInfo {
    BuildInfo {
        build_timestamp: env!("MOSHI_BUILD_TIMESTAMP").to_owned(),
        build_date: env!("MOSHI_BUILD_DATE").to_owned(),
        git_branch: env!("MOSHI_GIT_BRANCH").to_owned(),
        git_timestamp: env!("MOSHI_GIT_TIMESTAMP").to_owned(),
        git_date: env!("MOSHI_GIT_DATE").to_owned(),
        git_hash: env!("MOSHI_GIT_HASH").to_owned(),
        git_describe: env!("MOSHI_GIT_DESCRIBE").to_owned(),
        rustc_host_triple: env!("MOSHI_RUSTC_HOST").to_owned(),
        rustc_version: env!("MOSHI_RUSTC_VERSION").to_owned(),
        cargo_target_triple: env!("MOSHI_TARGET").to_owned(),
    }
}
