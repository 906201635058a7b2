//! Rules that hold for the whole source: what the domain may not know, and who may name what.

use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let name = |path: &Path| path.strip_prefix(&root).expect("below src").display().to_string();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("a source file"))).collect()
}

/// No file of the selection has any of the words in its code before its tests.
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
    let domain = ["secret.rs", "connection", "lease.rs", "notice.rs", "decision.rs", "ports.rs", "report.rs"];
    let outside = ["::now(", "::now)", "std::env", "std::fs", "std::process", "tokio", "reqwest", "aws_", "TcpStream"];
    check_absent(&outside, |name| domain.iter().any(|part| name.starts_with(part)));
    check_absent(&["Timestamp::now", "SystemTime", "std::env", "reqwest", "aws_"], |name| {
        ["refresh.rs", "renew.rs", "brake.rs", "pace.rs", "dispatch.rs"].contains(&name)
    });
    check_absent(&["::now(", "SystemTime", "std::env", "getrandom", "reqwest", "aws_"], |name| {
        name.starts_with("consent")
    });
}

#[test]
fn the_sdk_and_zohos_http_are_named_in_one_place_each() {
    check_absent(&["aws_sdk", "aws_config", "aws_smithy"], |name| !name.starts_with("aws"));
    check_absent(&["reqwest"], |name| !name.starts_with("aws") && name != "zoho.rs" && name != "http.rs");
    check_absent(&["std::env::"], |name| !name.starts_with("bin"));
    check_absent(&["Timestamp::now"], |name| !name.starts_with("bin"));
}

#[test]
fn the_refresher_can_name_nothing_that_writes_a_secret_and_nobody_deletes_one() {
    let refresher = [
        "refresh.rs",
        "renew.rs",
        "pace.rs",
        "dispatch.rs",
        "decision.rs",
        "brake.rs",
        "report.rs",
        "lambda/refresher.rs",
        "bin/refresher.rs",
    ];
    check_absent(&["SecretWriter", "Authorizer", "put_secret_value", "create_secret"], |name| {
        refresher.contains(&name)
    });
    check_absent(&["put_secret_value", "create_secret"], |name| name != "aws/grants.rs");
    check_absent(&["delete_secret", "delete_parameter"], |name| !name.starts_with("aws/"));
    check_absent(&["Remover"], |name| !name.starts_with("aws/") && !name.starts_with("cli") && name != "ports.rs");
    check_absent(&["update_secret"], |_| true);
}

#[test]
fn a_run_that_queues_can_name_nothing_that_reads_a_grant_or_a_lease_or_asks_zoho() {
    check_absent(&["Issuer", "Leases", "StoredSecret", "Lease", "RefreshToken"], |name| name == "dispatch.rs");
    check_absent(&["send_message"], |name| name != "aws/queue.rs");
}
