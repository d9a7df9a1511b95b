//! Imports go downwards only (the map in `src/lib.rs`).

use std::fs;
use std::path::Path;

/// Modules, each with the modules of this crate that it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("access", &["directory", "limits"]),
    ("rows", &[]),
    ("codec", &["limits"]),
    ("committee", &["limits"]),
    ("crypto", &["committee", "codec", "limits"]),
    ("order", &["crypto", "committee", "codec", "limits", "rows", "directory::Timestamp"]),
    ("directory", &["crypto", "committee", "codec", "limits", "rows"]),
    ("ca", &["directory", "crypto", "committee", "codec", "limits", "rows"]),
    ("signing", &["directory", "crypto", "committee", "codec", "limits", "rows"]),
    ("store", &["order", "directory", "crypto", "committee", "codec", "limits", "rows"]),
    ("replica", &["store", "order", "directory", "ca", "signing", "crypto", "committee", "codec", "limits", "rows"]),
    (
        "sim",
        &["replica", "store", "order", "directory", "ca", "signing", "crypto", "committee", "codec", "limits", "rows"],
    ),
    ("config", &["access", "signing", "crypto", "committee", "codec", "limits", "directory"]),
    ("peer", &["replica", "store", "crypto", "committee", "codec", "limits", "config"]),
    ("dns", &["access", "store::view", "directory", "limits"]),
    ("http", &["replica", "store", "directory", "crypto", "codec", "committee", "limits"]),
    ("client", &["replica", "signing", "directory", "ca", "crypto", "codec", "committee", "limits", "config"]),
];

fn sources(path: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

/// Paths below `crate::` that a source mentions, one level of `{a, b}` resolved.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if at > 0 && text.as_bytes()[at - 1] == b'$' {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &group[..group.find('}').unwrap_or(0)];
            found.extend(group.split(',').map(|path| path.trim().to_string()));
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            found.push(rest[..end].to_string());
        }
    }
    found
}

#[test]
fn imports_go_downwards_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, allowed) in LAYERS {
        let mut files = Vec::new();
        let folder = root.join(module);
        if folder.is_dir() {
            sources(&folder, &mut files);
        }
        let file = root.join(format!("{module}.rs"));
        if let Ok(text) = fs::read_to_string(&file) {
            files.push((file.display().to_string(), text));
        }
        for (file, text) in files {
            for import in imports(&text) {
                let within = |path: &str| import == path || import.starts_with(&format!("{path}::"));
                // Constants, but in test builds.
                let planted = within("mutants");
                if !import.is_empty() && !planted && !within(module) && !allowed.iter().any(|path| within(path)) {
                    wrong.push(format!("{file}: {module} may not import crate::{import}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
