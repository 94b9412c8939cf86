//! The mechanical half of how Towpath is written, so that review is about the other half.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use towpath_tests::cache::repository;

/// A file over this is two things.
const FILE_LINES_MAX: usize = 800;
/// A function fits a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Beyond it, a struct.
const PARAMETERS_MAX: usize = 5;

/// Which rooms a room may import.
const ARROWS: [(&str, &[&str]); 10] = [
    ("towpath-env", &[]),
    ("towpath-wire", &["towpath-env"]),
    ("towpath-shared-log", &["towpath-env"]),
    ("towpath-broker", &["towpath-env", "towpath-wire", "towpath-shared-log"]),
    ("towpath-offset-map", &[]),
    ("towpath-plans", &[]),
    (
        "towpath-linker",
        &["towpath-env", "towpath-wire", "towpath-shared-log", "towpath-offset-map", "towpath-plans"],
    ),
    ("towpath-dashboards", &[]),
    (
        "towpath-cli",
        &[
            "towpath-env",
            "towpath-wire",
            "towpath-shared-log",
            "towpath-broker",
            "towpath-plans",
            "towpath-linker",
            "towpath-dashboards",
        ],
    ),
    (
        "towpath-tests",
        &[
            "towpath-env",
            "towpath-wire",
            "towpath-shared-log",
            "towpath-plans",
            "towpath-broker",
            "towpath-linker",
        ],
    ),
];

/// A tracked text file: its path from the root of the repository, and its text.
struct Tracked {
    path: String,
    text: String,
}

impl Tracked {
    /// The numbered lines before the file's own tests.
    fn product_lines(&self) -> Vec<(usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        let end = tests.unwrap_or(lines.len());
        lines[..end].iter().enumerate().map(|(index, line)| (index + 1, *line)).collect()
    }

    /// Files (without `.rs`) of the modules that this one declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let own = if ["lib", "main", "mod"].contains(&name) { folder.to_owned() } else { stem.to_owned() };
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
        let named = declared.filter_map(|pair| {
            let line = pair[1].trim();
            line.strip_prefix("pub(crate) ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')
        });
        named.map(|module| format!("{own}/{module}")).collect()
    }
}

/// The sources that are part of the product: neither this crate nor modules for tests only.
fn product_sources() -> Vec<Tracked> {
    let all = sources();
    let for_tests: BTreeSet<String> = all.iter().flat_map(Tracked::test_modules).collect();
    let is_test = |path: &str| {
        let stem = path.strip_suffix(".rs").unwrap_or(path).trim_end_matches("/mod");
        let within = for_tests.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")));
        within || path.starts_with("tests/") || path.contains("/tests/") || path.contains("/fuzz/")
    };
    all.into_iter().filter(|file| !is_test(&file.path)).collect()
}

fn tracked() -> Vec<Tracked> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output().unwrap();
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let paths = names.split('\0').filter(|name| !name.is_empty());
    // A file that is deleted and not yet committed, or that is no text, has nothing to check.
    paths
        .filter_map(|path| {
            let text = std::fs::read_to_string(repository().join(path)).ok()?;
            Some(Tracked { path: path.to_owned(), text })
        })
        .collect()
}

fn sources() -> Vec<Tracked> {
    tracked().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn nothing_in(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} violations:\n{}\n", violations.len(), violations.join("\n"));
}

/// Every crate's folder and `Cargo.toml`; the fuzzers, which stand beside the workspace, are none.
fn crates() -> Vec<(PathBuf, toml::Table)> {
    manifests().into_iter().filter(|(folder, _)| !folder.ends_with("fuzz")).collect()
}

/// Every folder with a `Cargo.toml` of its own, and that file.
fn manifests() -> Vec<(PathBuf, toml::Table)> {
    let files = tracked().into_iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let parsed = |file: Tracked| {
        let folder = Path::new(&file.path).parent().unwrap().to_owned();
        (folder, file.text.parse().unwrap())
    };
    files.map(parsed).collect()
}

/// Where the sources of one crate stand: folders, and files that its `Cargo.toml` names.
fn homes(folder: &Path, manifest: &toml::Table) -> Vec<PathBuf> {
    let usual = ["src", "tests", "examples", "benches"].map(|home| folder.join(home));
    let kinds = ["lib", "bin", "test", "bench", "example"].into_iter().filter_map(|kind| manifest.get(kind));
    let targets = kinds.flat_map(|kind| kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]));
    let named = targets.filter_map(|target| {
        let path = Path::new(target.get("path")?.as_str()?);
        // Modules stand beside a target's root, unless that is the crate's own folder.
        let beside = path.parent().filter(|parent| *parent != Path::new(""));
        Some(folder.join(beside.unwrap_or(path)))
    });
    usual.into_iter().chain(named).collect()
}

fn package_name(manifest: &toml::Table) -> &str {
    manifest["package"]["name"].as_str().unwrap()
}

#[test]
fn rooms_import_only_along_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into();
    let mut violations = Vec::new();
    for (folder, manifest) in crates() {
        let name = package_name(&manifest);
        let allowed = arrows.get(name).unwrap_or_else(|| panic!("{name} is no room of the house"));
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
            for dependency in table.keys().filter(|key| key.starts_with("towpath-")) {
                if !allowed.contains(&dependency.as_str()) {
                    violations.push(format!("{}/Cargo.toml: {name} imports {dependency}", folder.display()));
                }
            }
        }
    }
    nothing_in(violations);
}

#[test]
fn every_source_stands_in_its_crate() {
    let homes: Vec<PathBuf> =
        manifests().iter().flat_map(|(folder, manifest)| homes(folder, manifest)).collect();
    let stray = |file: &Tracked| !homes.iter().any(|home| Path::new(&file.path).starts_with(home));
    let strays = sources().into_iter().filter(stray);
    nothing_in(strays.map(|file| format!("{}: belongs to no crate", file.path)).collect());
}

#[test]
fn crate_roots_forbid_unsafe_code_and_take_the_workspace_lints() {
    let mut violations = Vec::new();
    for (folder, manifest) in crates() {
        if manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true))
        {
            violations.push(format!("{}/Cargo.toml: no `[lints] workspace = true`", folder.display()));
        }
        let prefix = format!("{}/src/", folder.display());
        for file in sources() {
            let Some(inside) = file.path.strip_prefix(&prefix) else { continue };
            let root = inside == "lib.rs" || inside == "main.rs" || inside.starts_with("bin/");
            if root && !file.text.contains("#![forbid(unsafe_code)]") {
                violations.push(format!("{}: no `#![forbid(unsafe_code)]`", file.path));
            }
        }
    }
    let root: toml::Table =
        std::fs::read_to_string(repository().join("Cargo.toml")).unwrap().parse().unwrap();
    if root["workspace"]["lints"]["rust"].get("missing_docs").is_none() {
        violations.push("Cargo.toml: the workspace doesn't warn of missing docs".to_owned());
    }
    nothing_in(violations);
}

#[test]
fn files_are_about_one_thing() {
    let lines = |file: &Tracked| file.text.lines().count();
    let long = sources().into_iter().filter(|file| lines(file) > FILE_LINES_MAX);
    nothing_in(long.map(|file| format!("{}: {} lines", file.path, lines(&file))).collect());
}

#[test]
fn modules_say_what_they_are_for() {
    let silent = product_sources().into_iter().filter(|file| !file.text.starts_with("//!"));
    nothing_in(silent.map(|file| format!("{}: its first line is no `//!`", file.path)).collect());
}

/// Finds long functions and long parameter lists.
struct Functions<'a> {
    path: &'a str,
    violations: Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature, whole: Span) {
        // An exception says why: `#[allow(clippy::too_many_lines, reason = "…")]`.
        let excused = attributes.iter().any(|attribute| {
            let text = format!("{:?}", attribute.meta);
            text.contains("too_many") && text.contains("reason")
        });
        if excused {
            return;
        }
        let (path, name, line) = (self.path, &signature.ident, signature.span().start().line);
        let lines = whole.end().line - line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.violations.push(format!("{path}:{line}: {name} has {lines} lines"));
        }
        let parameters =
            signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        if parameters > PARAMETERS_MAX {
            self.violations.push(format!("{path}:{line}: {name} has {parameters} parameters"));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.attrs, &item.sig, item.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.attrs, &item.sig, item.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.check(&item.attrs, &item.sig, item.span());
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn functions_fit_a_screen() {
    let mut violations = Vec::new();
    for file in sources() {
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let mut functions = Functions { path: &file.path, violations: Vec::new() };
        functions.visit_file(&parsed);
        violations.append(&mut functions.violations);
    }
    nothing_in(violations);
}

#[test]
fn no_module_is_a_drawer() {
    const BANNED: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "manager", "misc", "stuff"];
    let mut violations = Vec::new();
    for file in sources() {
        let path = file.path.strip_suffix(".rs").unwrap();
        if let Some(name) = path.split('/').find(|name| BANNED.contains(name)) {
            violations.push(format!("{}: {name}", file.path));
        }
        let inline = file.text.lines().filter_map(|line| line.trim().split_once("mod "));
        for (_, rest) in inline.filter(|(before, _)| before.is_empty() || before.starts_with("pub")) {
            let name = rest.trim_end_matches([';', '{', ' ']);
            if BANNED.contains(&name) {
                violations.push(format!("{}: mod {name}", file.path));
            }
        }
    }
    nothing_in(violations);
}

#[test]
fn no_file_knows_a_build_machine_or_a_registry() {
    // Put together, so that this file does not hold them.
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]];
    let hosts = [
        ["crates", ".io"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["maven", ".org"],
        ["repo.maven", ".apache"],
        ["npmjs", ".org"],
        ["proxy.golang", ".org"],
        ["deb.debian", ".org"],
    ];
    let banned: Vec<String> = places.iter().chain(&hosts).map(|parts| parts.concat()).collect();
    let mut violations = Vec::new();
    // The lock file names the registry of each crate by necessity.
    for file in tracked().iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(found) = banned.iter().find(|banned| line.contains(banned.as_str())) {
                violations.push(format!("{}:{}: {found}", file.path, index + 1));
            }
        }
    }
    nothing_in(violations);
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let banned = [["TO", "DO"], ["FIX", "ME"], ["unimplemented", "!("], ["todo", "!("], ["X", "XX "]];
    let banned = banned.map(|parts| parts.concat());
    let mut violations = Vec::new();
    for file in tracked().iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(found) = banned.iter().find(|banned| line.contains(banned.as_str())) {
                violations.push(format!("{}:{}: {found}", file.path, index + 1));
            }
        }
    }
    nothing_in(violations);
}

#[test]
fn what_may_panic_says_why_it_cannot() {
    const SUSPECTS: [&str; 4] = [".unwrap()", ".expect(", "panic!(", "unreachable!("];
    /// A proof stands on the line or on one of these many before it.
    const REACH: usize = 4;
    let mut violations = Vec::new();
    for file in product_sources() {
        let lines = file.product_lines();
        for (index, (number, line)) in lines.iter().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") || !SUSPECTS.iter().any(|suspect| code.contains(suspect)) {
                continue;
            }
            let near = &lines[index.saturating_sub(REACH)..=index];
            if !near.iter().any(|(_, line)| line.contains("// ")) {
                violations.push(format!("{}:{number}: {code}", file.path));
            }
        }
    }
    nothing_in(violations);
}

#[test]
fn the_readme_names_both_commands() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap_or_default();
    let missing =
        ["cargo run --release -- demo", "tests/run"].into_iter().filter(|name| !readme.contains(name));
    nothing_in(missing.map(|name| format!("README.md: doesn't name `{name}`")).collect());
}

#[test]
fn unkept_crates_stay_behind_one_file() {
    let root = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = root.parse().unwrap();
    let sled = &manifest["workspace"]["dependencies"]["sled"];
    let version = sled.get("version").unwrap_or(sled).as_str().unwrap();
    assert!(version.starts_with('='), "sled is pinned exactly, not {version:?}");
    let users = |name: &str| -> BTreeSet<String> {
        let imports = |line: &str| {
            let code = line.trim_start();
            !code.starts_with("//")
                && (code.contains(&format!("{name}::")) || code.contains(&format!("use {name};")))
        };
        let files = sources().into_iter().filter(|file| file.path != "tests/tidy.rs");
        files.filter(|file| file.text.lines().any(imports)).map(|file| file.path).collect()
    };
    assert!(users("sled").len() <= 1, "sled is used by {:?}", users("sled"));
    let retry = BTreeSet::from(["broker/env/src/retry.rs".to_owned()]);
    assert!(users("backoff").is_subset(&retry), "backoff is used by {:?}", users("backoff"));
}

#[test]
fn the_house_has_exactly_its_rooms() {
    let rooms = ["broker", "dashboards", "docs", "linker", "offset-map", "plans", "tests"].map(str::to_owned);
    let folders: BTreeSet<String> = tracked()
        .iter()
        .filter_map(|file| Some(file.path.split_once('/')?.0.to_owned()))
        .filter(|folder| !folder.starts_with('.'))
        .collect();
    assert_eq!(folders, BTreeSet::from(rooms));
}
