//! `token-keeper scopes`, and the check of the scopes that an operator gives.
//!
//! The form of a scope is certain, so a scope of another form is refused. The list of scopes never
//! is: Zoho adds some without notice. So a scope that is not in the list is only doubted.

use std::collections::BTreeSet;

use serde_json::json;
use strsim::damerau_levenshtein;

use crate::console::{Console, Failure};
use crate::text::table;

/// What Zoho documents. The first line says when it was read.
const TABLE: &str = include_str!("scopes/table.tsv");
/// Scopes that are one word: Zoho Accounts has them from `OpenID` Connect.
const IDENTITY: [&str; 4] = ["email", "openid", "phone", "profile"];
/// What people put between two scopes instead of a comma.
const SEPARATORS: [char; 3] = [';', '|', '+'];
const HOW: &str = "write a scope as Service.module.OPERATION, for example ZohoCRM.modules.READ";

/// Which scopes to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  token-keeper scopes desk\n  token-keeper scopes invoices\n\n\
                        The list is a help and no limit: connect and grant take scopes that are not in it, with a warning.")]
pub struct Arguments {
    /// Only those with this word in the name of the product, the service or the module
    #[arg(value_name = "WORD")]
    pub word: Option<String>,
}

/// Modules of a service that have the same operations.
#[derive(Clone, Copy)]
struct Row {
    service: &'static str,
    product: &'static str,
    source: &'static str,
    operations: &'static str,
    modules: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().skip(2).filter_map(|line| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next();
        let (service, product, source) = (cell()?, cell()?, cell()?);
        Some(Row { service, product, source, operations: cell()?, modules: cell()? })
    })
}

/// The month in which Zoho's documents were read.
fn date() -> &'static str {
    TABLE.lines().next().and_then(|line| line.split('\t').nth(1)).unwrap_or_default()
}

/// Shows what is in the list.
pub(super) fn show(arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
    let plain = |name: &str| name.to_lowercase().replace(' ', "");
    let word = plain(arguments.word.as_deref().unwrap_or_default());
    // Somebody may give a whole scope.
    let word = word.rsplit_once('.').filter(|(_, last)| is_operation(last)).map_or(&*word, |(module, _)| module);
    let mut found: Vec<_> = rows()
        .flat_map(|row| row.modules.split(' ').map(move |module| (format!("{}.{module}", row.service), module, row)))
        .filter(|(scope, _, row)| plain(scope).contains(word) || plain(row.product).contains(word))
        .collect();
    if found.is_empty() {
        return Err(Failure::new(
            format!("the list of {} has no product, service or module with {} in its name", date(), printable(word)),
            "try a shorter word, or look in the product's documents at Zoho; connect also takes scopes that are not in the list",
        ));
    }
    found.sort_by_cached_key(|(scope, ..)| scope.to_lowercase());
    let scopes = found.iter().map(|(_, module, row)| {
        json!({
            "service": row.service,
            "module": module,
            "operations": row.operations.split(' ').collect::<Vec<_>>(),
            "product": row.product,
            "source": row.source,
        })
    });
    console.answer(json!({"date": date(), "scopes": scopes.collect::<Vec<_>>()}));
    let mut shown = table(console.terminal.look(), &["service and module", "operations"]);
    for (scope, _, row) in &found {
        shown.add_row([scope.as_str(), row.operations]);
    }
    console.show(&shown.trim_fmt());
    let mut sources: Vec<_> = found.iter().map(|(.., row)| format!("  {}: {}", row.product, row.source)).collect();
    sources.dedup();
    let (scope, _, row) = &found[0];
    let operation = row.operations.split(' ').max_by_key(|operation| *operation == "READ").unwrap_or_default();
    console
        .show(&format!("\nAdd the operation: {scope}.{operation}. This is what Zoho's documents said in {}:", date()));
    console.show(&sources.join("\n"));
    Ok(())
}

fn given(scopes: &[String]) -> impl Iterator<Item = &str> {
    scopes.iter().map(|scope| scope.trim()).filter(|scope| !scope.is_empty())
}

/// The scopes that were given, each once.
pub(crate) fn set(scopes: &[String]) -> BTreeSet<&str> {
    given(scopes).collect()
}

/// Refuses scopes of another form than Zoho's.
///
/// # Errors
/// Which scope is wrong, which part of it, and how to write it.
pub(crate) fn check(scopes: &[String]) -> Result<(), Failure> {
    for scope in given(scopes) {
        check_form(scope).map_err(|(problem, remedy)| {
            let scope = printable(scope);
            Failure::new(format!("the scope {scope} {problem}"), format!("{remedy}; nothing was changed"))
        })?;
    }
    Ok(())
}

/// Refuses what can be no scope of any provider (RFC 6749 §3.3).
///
/// # Errors
/// Which scope is wrong.
pub(crate) fn check_token(scopes: &[String]) -> Result<(), Failure> {
    match given(scopes).find(|scope| !is_token(scope)) {
        None => Ok(()),
        Some(wrong) => Err(Failure::new(
            format!("the scope {} contains a character that no scope has", printable(wrong)),
            "put a comma between two scopes, and nothing else; nothing was changed",
        )),
    }
}

/// Whether a text can be one scope of some provider.
pub(crate) fn is_token(scope: &str) -> bool {
    scope.bytes().all(|byte| byte.is_ascii_graphic() && !b",\"\\".contains(&byte))
}

/// Warns of scopes of Zoho's that are not in the list.
pub(crate) fn doubts(scopes: &[String], console: &Console<'_>) {
    for doubt in given(scopes).filter_map(doubt) {
        console.terminal.note(&format!(
            "{doubt}\n  -> it is asked for all the same, because Zoho adds scopes without notice; compare it with token-keeper scopes"
        ));
    }
}

/// A text without what could change the screen.
fn printable(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() || c.is_alphanumeric() || c == ' ';
    text.replace(|c| !plain(c), "\u{fffd}")
}

/// Whether a text has the form of a scope.
pub(crate) fn has_form(scope: &str) -> bool {
    check_form(scope).is_ok()
}

/// The problem of a scope, and its remedy.
fn check_form(scope: &str) -> Result<(), (String, String)> {
    let wrong = |problem: &str, remedy: String| Err((problem.to_owned(), remedy));
    if IDENTITY.contains(&scope) {
        return Ok(());
    }
    let is_separator = |c: char| c.is_whitespace() || SEPARATORS.contains(&c);
    if let Some(separator) = scope.chars().find(|&c| is_separator(c)) {
        let several: Vec<_> = scope.split(is_separator).filter(|part| !part.is_empty()).collect();
        let what = if separator.is_whitespace() { "a blank".to_owned() } else { format!("the character {separator}") };
        let remedy = format!("put a comma between two scopes, and nothing else: --scope {}", several.join(","));
        return wrong(&format!("contains {what}"), remedy);
    }
    let parts: Vec<_> = scope.split('.').collect();
    for (at, part) in parts.iter().enumerate() {
        if part.is_empty() {
            return wrong(&format!("is empty in part {} of {}", at + 1, parts.len()), HOW.to_owned());
        }
        if let Some(c) = part.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-".contains(*c)) {
            let remedy = format!("{HOW}: its parts have only letters, digits, _ and -");
            let part = printable(part);
            return wrong(&format!("contains the character {} in its part {part}", c.escape_debug()), remedy);
        }
    }
    let last = parts.last().copied().unwrap_or_default();
    match (parts.len(), is_operation(last)) {
        (1, _) => wrong("has only one part", HOW.to_owned()),
        (2, true) => wrong(&format!("names no module between {} and {last}", parts[0]), HOW.to_owned()),
        (_, true) => Ok(()),
        // An operation that Zoho has added, perhaps.
        (3.., false) if is_new_operation(last) => Ok(()),
        (_, false) => {
            let meant = nearest(last, operations());
            let remedy = meant.map_or_else(
                || format!("add the operation, for example {scope}.READ"),
                |meant| format!("if you mean {meant}, write {}.{meant}", parts[..parts.len() - 1].join(".")),
            );
            wrong(&format!("ends with {last}, which is no operation such as READ or ALL"), remedy)
        }
    }
}

/// The words for operations that Zoho uses anywhere.
fn operations() -> impl Iterator<Item = &'static str> {
    rows().flat_map(|row| row.operations.split(' '))
}

/// Whether this is an operation, or several with `-` between them.
fn is_operation(word: &str) -> bool {
    word.split('-').all(|word| operations().any(|known| known.eq_ignore_ascii_case(word)))
}

/// Whether this is a word in capitals, as operations are, and no slip of the pen.
fn is_new_operation(word: &str) -> bool {
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()) && nearest(word, operations()).is_none()
}

/// Why a scope of the right form may be wrong.
fn doubt(scope: &str) -> Option<String> {
    let (rest, operation) = scope.rsplit_once('.')?;
    if !is_operation(operation) {
        return Some(format!("{scope}: the list of {} has no operation {operation}", date()));
    }
    let (service, module) = rest.split_once('.')?;
    let meant = |meant: Option<&str>| meant.map(|meant| format!("; do you mean {meant}?")).unwrap_or_default();
    if rows().all(|row| row.service != service) {
        let name = bare(service);
        let same = rows().find(|row| [row.service, row.product].into_iter().any(|known| bare(known) == name));
        let near = same.map(|row| row.service).or_else(|| nearest(service, rows().map(|row| row.service)));
        return Some(format!("{scope}: the list of {} has no service {service}{}", date(), meant(near)));
    }
    let modules = || rows().filter(|row| row.service == service).flat_map(|row| row.modules.split(' '));
    if modules().any(|known| fits(module, known)) {
        return None;
    }
    let near = nearest(module, modules());
    Some(format!("{scope}: the list of {} has no module {module} of {service}{}", date(), meant(near)))
}

/// Whether a module is this one. In the list, a part in braces stands for any name.
fn fits(module: &str, known: &str) -> bool {
    let (parts, known): (Vec<_>, Vec<_>) = (module.split('.').collect(), known.split('.').collect());
    parts.len() == known.len() && parts.iter().zip(known).all(|(part, known)| *part == known || known.starts_with('{'))
}

/// A name without what people leave out or add: `Zoho`, blanks, the case of letters.
fn bare(name: &str) -> String {
    let name = name.to_lowercase().replace(' ', "");
    name.strip_prefix("zoho").map_or(name.clone(), str::to_owned)
}

/// The known word that was meant, if one is near enough: other letters' case, or one slip for each
/// three letters, two at most.
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let slips = (word.len() / 3).min(2);
    let near = known.map(|known| (damerau_levenshtein(&word, &known.to_lowercase()), known));
    near.filter(|(distance, _)| *distance <= slips).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn the_table_is_small_sorted_and_without_duplicates() {
        let (year, month) = date().split_once('-').expect("a year and a month");
        assert!(year.parse::<u16>().is_ok() && (1..=12).contains(&month.parse().unwrap_or(0)), "{}", date());
        assert_eq!(TABLE.lines().nth(1), Some("service\tproduct\tsource\toperations\tmodules"));
        assert!(TABLE.lines().count() < 200 && TABLE.lines().skip(1).all(|line| line.split('\t').count() == 5));
        let order: Vec<_> = rows().map(|row| (row.service.to_lowercase(), row.operations)).collect();
        assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
        let services: BTreeSet<_> = rows().map(|row| (row.service, row.product, row.source)).collect();
        let names: BTreeSet<_> = rows().map(|row| row.service.to_lowercase()).collect();
        assert_eq!(services.len(), names.len(), "a service has one product and one source");
        let mut seen = BTreeSet::new();
        for row in rows() {
            assert!(row.source.starts_with("https://"), "{}", row.source);
            for list in [row.operations, row.modules] {
                assert!(list.split(' ').is_sorted_by(|one, next| one < next), "{}: {list}", row.service);
            }
            for module in row.modules.split(' ') {
                assert!(seen.insert(format!("{}.{module}", row.service)), "{}.{module} is there twice", row.service);
                for operation in row.operations.split(' ') {
                    let scope = format!("{}.{module}.{operation}", row.service).replace("{module}", "Any_1");
                    assert_eq!((check_form(&scope), doubt(&scope)), (Ok(()), None), "{scope}");
                }
            }
        }
    }

    #[test]
    fn every_scope_in_the_documentation_and_the_help_is_in_the_table() {
        let mut pages = vec![
            include_str!("../../README.md").to_owned(),
            include_str!("../../docs/operating.md").to_owned(),
            include_str!("../../docs/reference.md").to_owned(),
            include_str!("../../examples/consumers/README.md").to_owned(),
            include_str!("../../infra/README.md").to_owned(),
        ];
        let mut cli = Cli::command();
        pages.extend(cli.get_subcommands_mut().map(|command| command.render_long_help().to_string()));
        let mut found = 0;
        for page in &pages {
            let words = page.split(|c: char| c.is_whitespace() || "`\",()[]".contains(c));
            let words = words.map(|word| word.trim_end_matches(['.', ':', ';']));
            let scopes = words.filter(|word| !word.starts_with("Service.") && check_form(word).is_ok());
            for scope in scopes.filter(|scope| !IDENTITY.contains(scope)) {
                assert_eq!(doubt(scope), None);
                found += 1;
            }
        }
        assert!(found > 10, "{found}");
    }
}
