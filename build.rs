//! What `s3haul --version` says: the commit that it was built of, and the features.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=S3HAUL_COMMIT");
    // A tarball and a container's build have no git: who builds there may say what it is.
    let commit = commit()
        .or_else(|| std::env::var("S3HAUL_COMMIT").ok())
        .filter(|commit| !commit.trim().is_empty())
        .unwrap_or_else(|| "unknown".to_owned());
    let features: Vec<_> = ["orc", "demo"]
        .into_iter()
        .filter(|feature| {
            std::env::var_os(format!("CARGO_FEATURE_{}", feature.to_uppercase())).is_some()
        })
        .collect();
    let features = if features.is_empty() {
        "none".to_owned()
    } else {
        features.join(", ")
    };
    let version = env!("CARGO_PKG_VERSION");
    println!(
        "cargo::rustc-env=S3HAUL_LONG_VERSION={version} ({}, features: {features})",
        commit.trim()
    );
}

/// The commit and its day, where these sources are a checkout of their own.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    // Unpacked inside another project's checkout, that one's commit says nothing.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    // Where HEAD points to, and what it pointed to: with both, packed refs too are noticed. A file that is not
    // there would have this run at each build.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["show", "--no-patch", "--format=%h %cs", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?.trim().to_owned();
    (done.status.success() && !text.is_empty()).then_some(text)
}
