//! The expected behaviour of Parameter Store.

use aws_sdk_ssm::operation::put_parameter::builders::PutParameterFluentBuilder;
use aws_sdk_ssm::types::{Parameter, ParameterStringFilter, ParameterTier, ParameterType, Tag};

use super::{Behaviour, World, joined, outcome_of};

pub(super) fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a secure value shows only in a decrypted read", secure, "decrypted plaintext, else hidden")
            .but_moto("decrypted plaintext, else shown"),
        Behaviour::new(
            "a parameter is overwritten only on request, and its versions count",
            versions,
            "1, ParameterAlreadyExists, 2, value two, first one",
        ),
        Behaviour::new("a put answers the version that it made", answered_versions, "1 2 3"),
        Behaviour::new(
            "a read of one version says which it was asked for",
            selected_versions,
            "a 3 no selector, a 1 :1, a 3 :3, ParameterVersionNotFound; a 2 :2, b 1 no selector",
        )
        .but_moto(
            "a 3 no selector, a 1 no selector, a 3 no selector, ParameterVersionNotFound; \
             a 2 no selector, b 1 no selector",
        ),
        Behaviour::new(
            "the newest 100 versions stay",
            kept_versions,
            "version 101, 1 ParameterVersionNotFound, 2 accepted",
        ),
        Behaviour::new("tags come at creation, not with an overwrite", tags, "accepted, ValidationException"),
        Behaviour::new(
            "an overwrite keeps the type: it may be left out and cannot change",
            types,
            "new without ValidationException, left out accepted, changed HierarchyTypeMismatchException",
        )
        .but_moto("new without ValidationException, left out accepted, changed accepted"),
        Behaviour::new(
            "a standard value has 4,096 bytes, an advanced one 8,192",
            sizes,
            "4096 accepted, 4097 ValidationException, 8192 accepted, 8193 ValidationException",
        )
        .but_moto("4096 accepted, 4097 accepted, 8192 accepted, 8193 accepted"),
        Behaviour::new("Intelligent-Tiering picks the tier", picked_tier, "small Standard, large Advanced")
            .but_moto("small Intelligent-Tiering, large Intelligent-Tiering"),
        Behaviour::new(
            "an advanced parameter never goes back to standard",
            no_way_back,
            "ValidationException, Advanced",
        )
        .but_moto("accepted, Intelligent-Tiering"),
        Behaviour::new("a policy is for advanced parameters", policy_tier, "ValidationException, accepted")
            .but_moto("accepted, accepted"),
        Behaviour::new(
            "policies are a list of expiries to come",
            policy_content,
            "no list ValidationException, past InvalidPolicyAttributeException",
        )
        .but_moto("no list accepted, past accepted"),
        Behaviour::new("a name in a hierarchy begins with a slash", unqualified_name, "ValidationException")
            .but_moto("accepted"),
        Behaviour::new("a name has letters, digits and .-_ only", name_characters, "ValidationException")
            .but_moto("accepted"),
        Behaviour::new(
            "a name has at most 15 levels",
            name_levels,
            "15 accepted, 16 HierarchyLevelLimitExceededException",
        )
        .but_moto("15 accepted, 16 accepted"),
        Behaviour::new(
            "names that begin with aws or ssm are reserved",
            reserved_names,
            "/aws/x AccessDeniedException, /ssm/x ValidationException, SSMx ValidationException",
        ),
        Behaviour::new(
            "several are read by name, at most 10, and the unknown are listed",
            by_names,
            "found a, invalid b; ValidationException",
        ),
        Behaviour::new(
            "a path lists its children, with all below them on request, and no namesakes",
            by_path,
            "a b; a b below/c",
        ),
        Behaviour::new("a path comes in pages of at most 10", path_pages, "10 10 5, 11 ValidationException"),
        Behaviour::new(
            "a description has no value and comes in pages of 50",
            descriptions,
            "12 SecureString alias/aws/ssm",
        )
        .but_moto("10 SecureString alias/aws/ssm"),
        Behaviour::new(
            "a description stays until another one comes",
            described,
            "created one, overwritten without one, with two",
        ),
        Behaviour::new(
            "a description has at most 1,024 characters",
            description_length,
            "1024 accepted, 1025 ValidationException",
        )
        .but_moto("1024 accepted, 1025 accepted"),
        Behaviour::new("a deletion tells what was there", deletions, "again ParameterNotFound; deleted b, invalid a"),
        Behaviour::new("at most 10 are deleted at once", deletion_size, "11 ValidationException, 10 accepted, left 1")
            .but_moto("11 accepted, 10 accepted, left 0"),
        Behaviour::new("of several who create a name at once, one succeeds", created_at_once, "1 of 8"),
    ]
}

pub(super) fn put(world: &World, name: &str, value: &str) -> PutParameterFluentBuilder {
    put_exactly(world, &world.parameter(name), value)
}

fn put_exactly(world: &World, name: &str, value: &str) -> PutParameterFluentBuilder {
    world.ssm.put_parameter().name(name).value(value).r#type(ParameterType::SecureString)
}

async fn read(world: &World, selector: &str) -> String {
    let get = world.ssm.get_parameter().name(world.parameter(selector)).with_decryption(true);
    match get.send().await {
        Ok(got) => got.parameter.and_then(|parameter| parameter.value).expect("a value"),
        Err(error) => outcome_of::<(), _, _>(Err(error)),
    }
}

/// A name without the probe's prefix.
fn short<'a>(world: &World, name: Option<&'a str>) -> &'a str {
    let name = name.expect("a name");
    name.strip_prefix(&world.parameter("")).unwrap_or(name)
}

async fn secure(world: World) -> String {
    put(&world, "a", "plaintext").send().await.expect("a new parameter");
    let hidden = world.ssm.get_parameter().name(world.parameter("a")).send().await.expect("a parameter");
    let hidden = hidden.parameter.and_then(|parameter| parameter.value).expect("a value");
    let shows = if hidden.contains("plaintext") { "shown" } else { "hidden" };
    format!("decrypted {}, else {shows}", read(&world, "a").await)
}

async fn versions(world: World) -> String {
    let first = put(&world, "a", "one").send().await.expect("a new parameter").version;
    let refused = outcome_of(put(&world, "a", "two").send().await);
    let second = put(&world, "a", "two").overwrite(true).send().await.expect("a new version").version;
    format!("{first}, {refused}, {second}, value {}, first {}", read(&world, "a").await, read(&world, "a:1").await)
}

async fn answered_versions(world: World) -> String {
    let mut seen = Vec::new();
    for value in ["one", "two", "three"] {
        seen.push(put(&world, "a", value).overwrite(true).send().await.expect("a new version").version);
    }
    joined(seen)
}

async fn selected_versions(world: World) -> String {
    answered_versions(world.clone()).await;
    put(&world, "b", "x").send().await.expect("a new parameter");
    let shown = |parameter: &Parameter| {
        let selector = parameter.selector().unwrap_or("no selector");
        format!("{} {} {selector}", short(&world, parameter.name()), parameter.version())
    };
    let mut one_by_one = Vec::new();
    for selector in ["a", "a:1", "a:3", "a:4"] {
        let get = world.ssm.get_parameter().name(world.parameter(selector)).send().await;
        one_by_one.push(match get {
            Ok(got) => shown(&got.parameter.expect("a parameter")),
            Err(error) => outcome_of::<(), _, _>(Err(error)),
        });
    }
    let names = ["a:2", "b"].map(|selector| world.parameter(selector));
    let got = world.ssm.get_parameters().set_names(Some(names.to_vec())).send().await.expect("parameters");
    let mut together: Vec<_> = got.parameters().iter().map(shown).collect();
    together.sort_unstable();
    format!("{}; {}", one_by_one.join(", "), together.join(", "))
}

async fn kept_versions(world: World) -> String {
    let mut newest = 0;
    for _ in 0..101 {
        newest = put(&world, "a", "x").overwrite(true).send().await.expect("a new version").version;
    }
    let get = |selector| world.ssm.get_parameter().name(world.parameter(selector)).send();
    format!("version {newest}, 1 {}, 2 {}", outcome_of(get("a:1").await), outcome_of(get("a:2").await))
}

async fn tags(world: World) -> String {
    let tag = Tag::builder().key("managed-by").value("test").build().expect("a tag");
    let created = outcome_of(put(&world, "a", "x").tags(tag.clone()).send().await);
    format!("{created}, {}", outcome_of(put(&world, "a", "x").tags(tag).overwrite(true).send().await))
}

async fn types(world: World) -> String {
    let untyped = || world.ssm.put_parameter().name(world.parameter("a")).value("x");
    let new = outcome_of(untyped().send().await);
    put(&world, "a", "x").send().await.expect("a new parameter");
    let left_out = outcome_of(untyped().overwrite(true).send().await);
    let changed = outcome_of(untyped().overwrite(true).r#type(ParameterType::String).send().await);
    format!("new without {new}, left out {left_out}, changed {changed}")
}

async fn sizes(world: World) -> String {
    let mut seen = Vec::new();
    for (bytes, tier) in [
        (4_096, ParameterTier::Standard),
        (4_097, ParameterTier::Standard),
        (8_192, ParameterTier::Advanced),
        (8_193, ParameterTier::Advanced),
    ] {
        let outcome = put(&world, &bytes.to_string(), &"x".repeat(bytes)).tier(tier).send().await;
        seen.push(format!("{bytes} {}", outcome_of(outcome)));
    }
    seen.join(", ")
}

async fn picked_tier(world: World) -> String {
    let mut seen = Vec::new();
    for (label, value) in [("small", "x".to_owned()), ("large", "x".repeat(4_097))] {
        let put = put(&world, label, &value).tier(ParameterTier::IntelligentTiering).send().await;
        seen.push(format!("{label} {}", put.expect("a new parameter").tier.expect("a tier")));
    }
    seen.join(", ")
}

async fn no_way_back(world: World) -> String {
    let put = |tier| put(&world, "a", "x").overwrite(true).tier(tier).send();
    put(ParameterTier::Advanced).await.expect("a new parameter");
    let standard = outcome_of(put(ParameterTier::Standard).await);
    let picked = put(ParameterTier::IntelligentTiering).await.expect("a new version");
    format!("{standard}, {}", picked.tier.expect("a tier"))
}

fn expiration(year: &str) -> String {
    format!(r#"{{"Type":"Expiration","Version":"1.0","Attributes":{{"Timestamp":"{year}-01-01T00:00:00.000Z"}}}}"#)
}

async fn policy_tier(world: World) -> String {
    let put = |name, tier| put(&world, name, "x").tier(tier).policies(format!("[{}]", expiration("2999"))).send();
    let standard = outcome_of(put("a", ParameterTier::Standard).await);
    format!("{standard}, {}", outcome_of(put("b", ParameterTier::Advanced).await))
}

async fn policy_content(world: World) -> String {
    let put = |name, policies| put(&world, name, "x").tier(ParameterTier::Advanced).policies(policies).send();
    let no_list = outcome_of(put("a", expiration("2999")).await);
    format!("no list {no_list}, past {}", outcome_of(put("b", format!("[{}]", expiration("2019"))).await))
}

async fn unqualified_name(world: World) -> String {
    outcome_of(put_exactly(&world, &format!("{}/a", world.prefix), "x").send().await)
}

async fn name_characters(world: World) -> String {
    outcome_of(put(&world, "a@b", "x").send().await)
}

async fn name_levels(world: World) -> String {
    let mut seen = Vec::new();
    for levels in [15, 16] {
        let below_prefix = vec!["a"; levels - 1].join("/");
        seen.push(format!("{levels} {}", outcome_of(put(&world, &below_prefix, "x").send().await)));
    }
    seen.join(", ")
}

async fn reserved_names(world: World) -> String {
    let mut seen = Vec::new();
    for name in ["/aws/x", "/ssm/x", "SSMx"] {
        seen.push(format!("{name} {}", outcome_of(put_exactly(&world, name, "x").send().await)));
    }
    seen.join(", ")
}

async fn by_names(world: World) -> String {
    put(&world, "a", "x").send().await.expect("a new parameter");
    let get = |names: &[String]| world.ssm.get_parameters().set_names(Some(names.to_vec())).send();
    let got = get(&["a", "b"].map(|name| world.parameter(name))).await.expect("parameters");
    let found = joined(got.parameters().iter().map(|parameter| short(&world, parameter.name())));
    let invalid = joined(got.invalid_parameters().iter().map(|name| short(&world, Some(name))));
    let eleven: Vec<_> = (0..11).map(|number| world.parameter(&number.to_string())).collect();
    format!("found {found}, invalid {invalid}; {}", outcome_of(get(&eleven).await))
}

async fn by_path(world: World) -> String {
    for name in ["tokens/a", "tokens/b", "tokens/below/c", "tokens-too/d"] {
        put(&world, name, "x").send().await.expect("a new parameter");
    }
    let mut seen = Vec::new();
    for recursive in [false, true] {
        let get = world.ssm.get_parameters_by_path().path(world.parameter("tokens")).recursive(recursive);
        let got = get.send().await.expect("parameters");
        let names = got.parameters().iter().map(|parameter| short(&world, parameter.name()));
        let mut names: Vec<_> = names.filter_map(|name| name.strip_prefix("tokens/")).collect();
        names.sort_unstable();
        seen.push(joined(names));
    }
    seen.join("; ")
}

async fn path_pages(world: World) -> String {
    for number in 0..25 {
        put(&world, &number.to_string(), "x").send().await.expect("a new parameter");
    }
    let get = || world.ssm.get_parameters_by_path().path(world.parameter(""));
    let (mut sizes, mut token) = (Vec::new(), None);
    loop {
        let page = get().set_next_token(token).send().await.expect("a page");
        sizes.push(page.parameters().len());
        token = page.next_token;
        if token.is_none() {
            return format!("{}, 11 {}", joined(sizes), outcome_of(get().max_results(11).send().await));
        }
    }
}

async fn descriptions(world: World) -> String {
    for number in 0..12 {
        put(&world, &number.to_string(), "x").send().await.expect("a new parameter");
    }
    let own = ParameterStringFilter::builder().key("Name").option("BeginsWith").values(world.parameter("")).build();
    let page = world.ssm.describe_parameters().parameter_filters(own.expect("a filter")).send().await.expect("a page");
    let first = page.parameters().first().expect("a description");
    let kind = first.r#type().map_or("no type", ParameterType::as_str);
    format!("{} {kind} {}", page.parameters().len(), first.key_id().unwrap_or("no key"))
}

async fn described(world: World) -> String {
    let mut seen = Vec::new();
    for (label, description) in [("created", Some("one")), ("overwritten without", None), ("with", Some("two"))] {
        let put = put(&world, "a", "x").overwrite(true).set_description(description.map(str::to_owned));
        put.send().await.expect("a new version");
        let own = ParameterStringFilter::builder().key("Name").values(world.parameter("a")).build();
        let found = world.ssm.describe_parameters().parameter_filters(own.expect("a filter")).send().await;
        let found = found.expect("a page").parameters.and_then(|mut found| found.pop()).expect("a description");
        seen.push(format!("{label} {}", found.description().unwrap_or("none")));
    }
    seen.join(", ")
}

async fn description_length(world: World) -> String {
    let mut seen = Vec::new();
    for length in [1_024, 1_025] {
        let outcome = put(&world, &length.to_string(), "x").description("x".repeat(length)).send().await;
        seen.push(format!("{length} {}", outcome_of(outcome)));
    }
    seen.join(", ")
}

async fn deletions(world: World) -> String {
    for name in ["a", "b"] {
        put(&world, name, "x").send().await.expect("a new parameter");
    }
    let delete = || world.ssm.delete_parameter().name(world.parameter("a")).send();
    delete().await.expect("a deletion");
    let again = outcome_of(delete().await);
    let both = world.ssm.delete_parameters().names(world.parameter("a")).names(world.parameter("b"));
    let both = both.send().await.expect("deletions");
    let names = |names: &[String]| joined(names.iter().map(|name| short(&world, Some(name))));
    format!("again {again}; deleted {}, invalid {}", names(both.deleted_parameters()), names(both.invalid_parameters()))
}

async fn deletion_size(world: World) -> String {
    let names: Vec<_> = (1..=11).map(|number| world.parameter(&format!("claims/crm/v1.{number}"))).collect();
    for name in &names {
        put_exactly(&world, name, "x").send().await.expect("a new parameter");
    }
    let mut seen = Vec::new();
    for size in [11, 10] {
        let delete = world.ssm.delete_parameters().set_names(Some(names[..size].to_vec()));
        seen.push(format!("{size} {}", outcome_of(delete.send().await)));
    }
    let left = world.ssm.get_parameters_by_path().path(world.parameter("claims/crm")).send().await;
    format!("{}, left {}", seen.join(", "), left.expect("parameters").parameters().len())
}

async fn created_at_once(world: World) -> String {
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..8 {
        let put = put(&world, "claims/crm/v1", &number.to_string()).overwrite(false);
        puts.spawn(async move { outcome_of(put.send().await) });
    }
    let outcomes = puts.join_all().await;
    let created = outcomes.iter().filter(|outcome| *outcome == "accepted").count();
    let refused = outcomes.iter().filter(|outcome| *outcome == "ParameterAlreadyExists").count();
    assert_eq!(created + refused, outcomes.len(), "{outcomes:?}");
    format!("{created} of {}", outcomes.len())
}
