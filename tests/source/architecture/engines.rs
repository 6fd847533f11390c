//! Checks which DynamoDB engines the project runs, and where their packages come from.

use super::{project_files, root};

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// Amazon distributes DynamoDB Local under a separate licence. So only three files can mention it, and no file can
/// download or start it.
#[test]
fn the_engine_with_a_vendor_licence_is_not_used() {
    // Concatenate the names, so that this file does not contain them.
    let names = [["dynamodb", "-local"].concat(), ["dynamodb", "local"].concat()];
    let tell = ["CHANGELOG.md", "README.md", "docker-compose.yml"];
    let uses = |file: &std::path::PathBuf| {
        let named = |text: &str| names.iter().any(|name| text.to_lowercase().contains(name));
        let path = file.to_str().unwrap();
        !tell.contains(&path)
            && (named(path) || std::fs::read(root().join(file)).is_ok_and(|b| named(&String::from_utf8_lossy(&b))))
    };
    let found: Vec<_> = project_files().into_iter().filter(uses).collect();
    assert!(found.is_empty(), "{found:?}");
    let compose = text("docker-compose.yml");
    let (_, service) = compose.split_once(&format!("  {}:\n", names[0])).unwrap();
    assert!(service.contains(&format!("    profiles: [\"{}\"]\n", names[0])), "it must be opt-in: {service}");
}

/// Every package that the engines need is pinned by a hash. No file contains a host name, so that the package client
/// uses its configured registry.
#[test]
fn packages_of_the_engines_are_pinned() {
    for engine in ["ministack", "moto"] {
        let lock = text(&format!("tests/engines/{engine}.txt"));
        let logical = lock.replace(" \\\n", " ");
        let packages: Vec<&str> = logical.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        assert!(packages.iter().any(|line| line.starts_with(&format!("{engine}=="))), "{engine}: {packages:?}");
        let pinned = |line: &&str| line.contains("==") && line.contains(" --hash=sha256:");
        let loose: Vec<_> = packages.iter().filter(|line| !line.is_empty() && !pinned(line)).collect();
        assert!(loose.is_empty(), "{engine}: {loose:?}");
        assert!(!lock.contains("://"), "{engine} names a host");
    }
    let lock: serde_json::Value = serde_json::from_str(&text("tests/engines/dynalite/package-lock.json")).unwrap();
    let packages = lock["packages"].as_object().unwrap();
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        assert!(package["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-")), "{name}");
        assert!(package.get("resolved").is_none(), "{name} names a host");
    }
    assert_eq!(packages["node_modules/dynalite"]["version"], "4.0.0");
}
