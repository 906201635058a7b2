//! Rules for the whole source: what the domain must not know, and which module may name what.

use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md"));
const LIB: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"));

fn sources() -> Vec<(String, String)> {
    sources_of("src")
}

/// The Rust files of a folder: their names below it, and their texts.
fn sources_of(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&root, &mut files);
    let name = |path: &Path| path.strip_prefix(&root).expect("below the folder").display().to_string();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("a source file"))).collect()
}

/// Checks that no selected file has one of the words in its code above its tests.
fn check_absent(words: &[&str], selected: impl Fn(&str) -> bool) {
    let mut seen = 0;
    for (name, text) in sources().into_iter().filter(|(name, _)| selected(name)) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in words {
                assert!(!line.contains(word), "{word} in src/{name}, line {}: {line}", number + 1);
            }
        }
        seen += 1;
    }
    assert!(seen > 0, "the rule selects no file");
}

#[test]
fn the_domain_reads_no_clock_environment_or_network() {
    let domain = [
        "secret.rs",
        "name.rs",
        "address.rs",
        "flaw.rs",
        "connection",
        "lease.rs",
        "notice.rs",
        "failure.rs",
        "ports.rs",
        "provider",
        "oauth/",
        "zoho/answer.rs",
    ];
    let pure = |name: &str| domain.iter().any(|part| name.starts_with(part));
    let pure = |name: &str| pure(name) || ["run/decision.rs", "run/verdict.rs", "run/report.rs"].contains(&name);
    let outside = ["::now(", "::now)", "std::env", "std::fs", "std::process", "tokio", "reqwest", "aws_", "TcpStream"];
    check_absent(&outside, pure);
    let use_case = |name: &str| ["run", "consent", "pace.rs"].iter().any(|part| name.starts_with(part));
    check_absent(&["Timestamp::now", "SystemTime", "std::env", "getrandom", "reqwest", "aws_"], use_case);
}

#[test]
fn one_module_each_names_the_sdk_http_the_environment_and_the_clock() {
    check_absent(&["aws_sdk", "aws_config", "aws_smithy", "aws_credential"], |name| !name.starts_with("aws"));
    let asks = ["http.rs", "issuer.rs", "oauth.rs", "zoho.rs"];
    check_absent(&["reqwest"], |name| !name.starts_with("aws") && !asks.contains(&name));
    check_absent(&["std::env::"], |name| !name.starts_with("bin"));
    check_absent(&["Timestamp::now", "getrandom"], |name| name != "source.rs");
}

#[test]
fn the_refresher_writes_no_secret_but_the_successor_of_a_refresh_token_and_nothing_deletes_one() {
    let refresher = |name: &str| name.starts_with("run") || ["lambda/refresher.rs", "bin/refresher.rs"].contains(&name);
    let writing = ["put_secret_value", "create_secret", "update_secret_version_stage"];
    check_absent(&[&["SecretWriter", "Authorizer"], &writing[..]].concat(), refresher);
    let successor = ["run/redeem.rs", "run/write.rs", "run/renew.rs", "run/complaints.rs", "run.rs"];
    let bounds = ["SecretReplacer"];
    check_absent(&bounds, |name| refresher(name) && !successor.contains(&name) && name != "lambda/refresher.rs");
    // Only this file replaces one, and only for a provider that gives another refresh token.
    check_absent(&[".replace(&name"], |name| refresher(name) && name != "run/redeem.rs");
    check_absent(&writing, |name| name != "aws/grants.rs");
    check_absent(&["delete_secret", "delete_parameter"], |name| !name.starts_with("aws/"));
    check_absent(&["Remover"], |name| !name.starts_with("aws/") && name != "ports.rs");
    check_absent(&["DeviceAuthorizer"], |name| !["ports.rs", "issuer.rs", "zoho/device.rs"].contains(&name));
    check_absent(&["update_secret("], |_| true);
}

#[test]
fn a_run_that_queues_cannot_read_a_grant_or_a_lease_or_ask_zoho() {
    let dispatch = |name: &str| name == "run/dispatch.rs";
    check_absent(&["Issuer", "Leases", "StoredSecret", "Lease", "RefreshToken"], dispatch);
    check_absent(&["send_message"], |name| name != "aws/queue.rs");
}

/// The module of a file. A file in a folder belongs to the folder's module.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// The modules that a text names with `crate::`, above its tests.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let end = |c: char| !c.is_alphanumeric() && c != '_';
    code.split("crate::").skip(1).map(move |rest| rest.split(end).next().unwrap_or_default())
}

/// The modules that a library declares, in order.
fn declared(lib: &str) -> Vec<&str> {
    let modules = lib.lines().map(|line| line.trim_start_matches("pub "));
    modules.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect()
}

#[test]
fn in_the_other_packages_a_module_uses_only_modules_declared_before_it() {
    for folder in ["cli/src", "testkit/src"] {
        let sources = sources_of(folder);
        let lib = sources.iter().find(|(name, _)| name == "lib.rs").expect("a library");
        let order = declared(&lib.1);
        let place = |module: &str| order.iter().position(|declared| *declared == module);
        let mut imports = 0;
        for (name, text) in &sources {
            if ["lib.rs", "main.rs"].contains(&name.as_str()) || name.starts_with("bin/") {
                continue;
            }
            let own = place(module(name)).unwrap_or_else(|| panic!("{folder}/lib.rs does not declare {name}"));
            for used in uses(text) {
                let other =
                    place(used).unwrap_or_else(|| panic!("{folder}/{name} names crate::{used}, which is no module"));
                assert!(other <= own, "{folder}/{name} uses {used}, which is declared after it");
                imports += 1;
            }
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let sibling = code.contains("super::super") || (!name.contains('/') && code.contains("super::"));
            assert!(!sibling, "{folder}/{name} names a module of the top by `super`, and not by `crate`");
        }
        assert!(imports > 10, "the imports were found");
    }
}

#[test]
fn a_module_uses_only_modules_of_the_layers_above() {
    let block = ARCHITECTURE.split("## Layers\n\n```\n").nth(1).and_then(|rest| rest.split("```").next());
    let layers = block.expect("the layers").lines().map(|line| line.split(':').next().unwrap_or_default());
    let layers: Vec<Vec<_>> = layers.map(|modules| modules.split(", ").collect()).collect();
    let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut imports = 0;
    for (name, text) in sources().into_iter().filter(|(name, _)| name != "lib.rs") {
        let own = module(&name);
        let at = layer(own).unwrap_or_else(|| panic!("{own} is in no layer of ARCHITECTURE.md"));
        for used in uses(&text) {
            let Some(other) = layer(used) else { continue };
            assert!(used == own || other < at, "src/{name} uses {used}, which is in no layer above its own");
            imports += 1;
        }
    }
    assert!(imports > 100, "the imports were found");
    let declared = declared(LIB);
    let places: Vec<_> = declared.iter().map(|module| layer(module)).collect();
    assert!(places.is_sorted(), "src/lib.rs declares in the order of the layers: {declared:?}");
}

#[test]
fn the_architecture_names_tests_that_exist() {
    let table = ARCHITECTURE.split("## Invariants").nth(1).expect("the invariants");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let named = rows.flat_map(|row| row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for name in named {
        let folders = ["tests", "tests/run", "cli/tests/commands", "src", "src/connection"];
        assert!(folders.iter().any(|folder| root.join(folder).join(name).exists()), "there is no test {name}");
        found += 1;
    }
    assert!(found > 15, "the table was found");
}

#[test]
fn comments_wrap_at_100_columns() {
    for folder in ["src", "cli", "testkit", "tests", "benches"] {
        for (name, text) in sources_of(folder) {
            let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
            for (number, comment) in comments {
                assert!(comment.chars().count() <= 100, "{folder}/{name}, line {}: {comment}", number + 1);
            }
        }
    }
}
