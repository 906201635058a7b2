//! The expected behaviour of Parameter Store for claims, as `src/aws/leases.rs` uses it.

use super::parameters::put;
use super::{Behaviour, World, joined, outcome_of};

pub(super) fn behaviours() -> Vec<Behaviour> {
    vec![Behaviour::new(
        "a claim is made once, takes another text, is listed beside its further attempts, and goes",
        claims,
        "accepted, again ParameterAlreadyExists, rewritten accepted, v1 kept v1.2 new; removed v1 v1.2, missing \
             v1.3, left none; after that accepted",
    )]
}

async fn claims(world: World) -> String {
    let create = async |name: &str, value: &str| {
        outcome_of(put(&world, &format!("claims/{name}"), value).overwrite(false).send().await)
    };
    let made = create("crm/v1", "new").await;
    let again = create("crm/v1", "of another run").await;
    let rewritten = outcome_of(put(&world, "claims/crm/v1", "kept").overwrite(true).send().await);
    create("crm/v1.2", "new").await;
    create("crm2/v1", "of another connection").await;
    let list = async || {
        let get = world.ssm.get_parameters_by_path().path(world.parameter("claims/crm")).with_decryption(true);
        let got = get.send().await.expect("parameters");
        let mut seen: Vec<_> = got
            .parameters()
            .iter()
            .map(|claim| format!("{} {}", last(&world, claim.name().expect("a name")), claim.value().expect("a value")))
            .collect();
        seen.sort_unstable();
        if seen.is_empty() { "none".to_owned() } else { joined(seen) }
    };
    let listed = list().await;
    let names = ["v1", "v1.2", "v1.3"].map(|name| world.parameter(&format!("claims/crm/{name}")));
    let removed = world.ssm.delete_parameters().set_names(Some(names.to_vec())).send().await.expect("deletions");
    let names = |names: &[String]| {
        let mut names: Vec<_> = names.iter().map(|name| last(&world, name).to_owned()).collect();
        names.sort_unstable();
        joined(names)
    };
    format!(
        "{made}, again {again}, rewritten {rewritten}, {listed}; removed {}, missing {}, left {}; after that {}",
        names(removed.deleted_parameters()),
        names(removed.invalid_parameters()),
        list().await,
        create("crm/v1", "new").await
    )
}

/// The name of a claim without its path.
fn last<'a>(world: &World, name: &'a str) -> &'a str {
    name.strip_prefix(&world.parameter("claims/crm/")).unwrap_or(name)
}
