//! Who may import whom: the table "Rooms" of ARCHITECTURE.md, read back from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

/// For each crate the crates of this workspace it may import, and crates from elsewhere that it must not.
const ROOMS: [(&str, &[&str], &[&str]); 7] = [
    ("schemas", &[], &["tokio", "object_store", "sqlx", "axum", "datafusion", "reqwest", "parquet"]),
    ("speed-layer", &["schemas"], &["datafusion", "sqlx", "object_store", "axum", "parquet"]),
    ("batch-layer", &["schemas"], &["axum"]),
    ("serving-layer", &["schemas", "speed-layer", "batch-layer"], &["sqlx", "object_store"]),
    ("weir", &["schemas", "speed-layer", "batch-layer", "serving-layer"], &["sqlx", "datafusion", "axum"]),
    ("tests", &["schemas", "speed-layer", "batch-layer", "serving-layer", "weir"], &[]),
    ("bench", &["schemas", "speed-layer", "batch-layer", "serving-layer", "weir"], &[]),
];

#[test]
fn no_crate_imports_what_it_must_not() {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let members: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let rooms: BTreeMap<&str, (&[&str], &[&str])> =
        ROOMS.iter().map(|(name, ours, theirs)| (*name, (*ours, *theirs))).collect();
    assert_eq!(members, rooms.keys().map(|name| (*name).to_owned()).collect(), "every room has a row");
    for package in &metadata.packages {
        let (allowed, refused) = rooms[package.name.as_str()];
        let normal = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
        for dependency in normal {
            let name = dependency.name.as_str();
            assert!(!members.contains(name) || allowed.contains(&name), "{} must not import {name}", package.name);
            assert!(!refused.contains(&name), "{} must not import {name}", package.name);
        }
    }
}
