//! Rules about the tree: what the README says, what the code reads and what the files hold are the same.

use token_keeper::config::VARIABLES;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

#[test]
fn the_readme_lists_every_setting_with_its_default_and_no_other() {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `TOKEN_KEEPER_")?.split_once("` | "));
    let listed: Vec<_> = rows
        .map(|(name, rest)| {
            let default = rest.split(" | ").next().unwrap_or_default().trim_matches('`');
            (format!("TOKEN_KEEPER_{name}"), default.to_owned())
        })
        .collect();
    let read: Vec<_> = VARIABLES
        .into_iter()
        .map(|(name, default)| (name.to_owned(), if default.is_empty() { "unset" } else { default }.to_owned()))
        .collect();
    assert_eq!(listed, read);
}

#[test]
fn the_readme_shows_every_event_file() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events")).expect("the event files") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        assert!(README.contains(&format!("events/{name}")), "events/{name} is not in the README");
    }
}
