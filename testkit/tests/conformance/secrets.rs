//! The expected behaviour of Secrets Manager.

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};

use super::{Behaviour, World, joined, outcome_of};

pub(super) fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a secret is read by name and by ARN", by_name_and_arn, "text AWSCURRENT, text AWSCURRENT"),
        Behaviour::new("a binary secret comes back byte for byte", binary, "[0, 159, 255] and no text"),
        Behaviour::new("a secret that is not there is not found", absent, "ResourceNotFoundException"),
        Behaviour::new("a name is taken only once", taken_name, "ResourceExistsException"),
        Behaviour::new("a put makes the current version the previous one", stages, "current 3, previous 2, first none")
            .but_moto("current 3, previous 2, first kept"),
        Behaviour::new("a request token becomes the version's id", token_is_version, "as sent"),
        Behaviour::new(
            "a request token has 32 to 64 characters",
            token_length,
            "31 InvalidParameterException, 32 accepted, 64 accepted, 65 InvalidParameterException",
        ),
        Behaviour::new(
            "the same token with the same value changes nothing",
            repeated_token,
            "accepted, current is still the second",
        ),
        Behaviour::new("the same token with another value is refused", reused_token, "ResourceExistsException"),
        Behaviour::new(
            "a secret takes 100 versions in a day, and repeating one takes no place",
            versions_of_a_day,
            "100 accepted, 101 LimitExceededException, 100 again accepted, current 100",
        )
        .but_moto("100 accepted, 101 accepted, 100 again accepted, current 101"),
        Behaviour::new(
            "a label moves only from the version that the caller names",
            moved_label,
            "from nowhere InvalidParameterException, from another InvalidParameterException, current 1; from its place \
             accepted, current 2, previous 1; again InvalidParameterException, current 2",
        ),
        Behaviour::new(
            "a label moves only to a version that exists",
            moved_to_nothing,
            "ResourceNotFoundException, current 1",
        )
        .but_moto("InvalidParameterException, current 1"),
        Behaviour::new(
            "a version without a label can become the current one",
            moved_to_unlabelled,
            "accepted, current 2",
        ),
        Behaviour::new(
            "the version that was put aside last is read by its label, with its id, also after it became the current one",
            read_aside,
            "before ResourceNotFoundException; put aside 3 of 3, current 1; moved 3 of 3, current 3",
        ),
        Behaviour::new("a put without labels after a move is the current version", put_after_move, "current 3"),
        Behaviour::new(
            "what is scheduled for deletion takes no put under a label, and its labels do not move",
            moved_when_deleted,
            "put InvalidRequestException, move InvalidRequestException",
        )
        .but_moto("put accepted, move accepted"),
        Behaviour::new("a value has at most 65,536 bytes", size, "accepted, ValidationException")
            .but_moto("accepted, accepted"),
        Behaviour::new(
            "a batch by id reports the missing and the deleted by name",
            batch_by_id,
            "there=text; gone=InvalidRequestException nowhere=ResourceNotFoundException",
        ),
        Behaviour::new(
            "a batch wants ids or filters, not both and not neither",
            batch_kinds,
            "both InvalidParameterException, neither InvalidParameterException",
        )
        .but_moto("both InvalidParameterException, neither accepted"),
        Behaviour::new("a batch has at most 20 ids", batch_size, "ValidationException").but_moto("accepted"),
        Behaviour::new(
            "a name filter matches by prefix and case, several values widen, several filters narrow",
            filters,
            "connections/a connections/b; Connections/c connections/a; connections/b",
        ),
        Behaviour::new("a batch by filter comes in pages of 20", pages, "20 20 5, all different")
            .but_moto("45, all different"),
        Behaviour::new("a filter passes over what is scheduled for deletion", deleted_in_batch, "one value, no errors")
            .but_moto("InvalidRequestException"),
        Behaviour::new(
            "a list goes by the beginning of names, with their case",
            list_filter,
            "connections/a connections/b",
        ),
        Behaviour::new("a list comes in pages of at most 100", list_pages, "100 1, 101 ValidationException")
            .but_moto("100 1, 101 accepted"),
        Behaviour::new("a list passes over what is scheduled for deletion unless asked", deleted_in_list, "b; a b"),
        Behaviour::new(
            "what is scheduled for deletion can be neither read, written nor created, until it is restored",
            deletion,
            "read InvalidRequestException, put InvalidRequestException, create InvalidRequestException, restored text",
        )
        .but_moto("read InvalidRequestException, put accepted, create ResourceExistsException, restored new"),
        Behaviour::new(
            "a recovery window is 7 to 30 days",
            recovery_window,
            "6 InvalidParameterException, 31 InvalidParameterException, 7 accepted",
        ),
        Behaviour::new("a deletion without recovery frees the name", forced_deletion, "accepted"),
    ]
}

async fn create(world: &World, name: &str, text: &str) -> String {
    let created = world.secrets.create_secret().name(world.secret(name)).secret_string(text).send().await;
    created.expect("a new secret").arn.expect("an ARN")
}

async fn put(world: &World, name: &str, text: &str, token: &str) -> String {
    let put = world.secrets.put_secret_value().secret_id(world.secret(name)).secret_string(text);
    outcome_of(put.client_request_token(token).send().await)
}

async fn delete(world: &World, name: &str) {
    world.secrets.delete_secret().secret_id(world.secret(name)).send().await.expect("a deletion");
}

async fn read(world: &World, name: &str) -> String {
    let value = world.secrets.get_secret_value().secret_id(world.secret(name)).send().await;
    value.expect("a value").secret_string.expect("a text")
}

fn by_name(values: &[String]) -> Filter {
    Filter::builder().key(FilterNameStringType::Name).set_values(Some(values.to_vec())).build()
}

/// A request token that is long enough.
fn token(mark: char) -> String {
    mark.to_string().repeat(32)
}

/// The names in a batch, in order and without the probe's prefix.
fn names(world: &World, batch: &BatchGetSecretValueOutput) -> String {
    let own = format!("{}/", world.prefix);
    let mut names: Vec<_> = batch.secret_values().iter().filter_map(|value| value.name()?.strip_prefix(&own)).collect();
    names.sort_unstable();
    joined(names)
}

async fn by_name_and_arn(world: World) -> String {
    let arn = create(&world, "a", "text").await;
    let mut seen = Vec::new();
    for id in [world.secret("a"), arn] {
        let value = world.secrets.get_secret_value().secret_id(id).send().await.expect("a value");
        seen.push(format!("{} {}", value.secret_string().unwrap_or("none"), joined(value.version_stages())));
    }
    seen.join(", ")
}

async fn binary(world: World) -> String {
    let create = world.secrets.create_secret().name(world.secret("a")).secret_binary(Blob::new([0, 159, 255]));
    create.send().await.expect("a new secret");
    let value = world.secrets.get_secret_value().secret_id(world.secret("a")).send().await.expect("a value");
    let bytes = value.secret_binary().expect("a binary").as_ref();
    format!("{bytes:?} and {}", value.secret_string().unwrap_or("no text"))
}

async fn absent(world: World) -> String {
    outcome_of(world.secrets.get_secret_value().secret_id(world.secret("a")).send().await)
}

async fn taken_name(world: World) -> String {
    create(&world, "a", "text").await;
    outcome_of(world.secrets.create_secret().name(world.secret("a")).secret_string("other").send().await)
}

async fn stages(world: World) -> String {
    create(&world, "a", "1").await;
    put(&world, "a", "2", &token('2')).await;
    put(&world, "a", "3", &token('3')).await;
    let staged = async |stage| {
        let get = world.secrets.get_secret_value().secret_id(world.secret("a")).version_stage(stage);
        get.send().await.expect("a value").secret_string.expect("a text")
    };
    let described = world.secrets.describe_secret().secret_id(world.secret("a")).send().await.expect("a description");
    let labelled = described.version_ids_to_stages().map_or(0, std::collections::HashMap::len);
    let first = if labelled > 2 { "kept" } else { "none" };
    format!("current {}, previous {}, first {first}", staged("AWSCURRENT").await, staged("AWSPREVIOUS").await)
}

async fn token_is_version(world: World) -> String {
    create(&world, "a", "1").await;
    put(&world, "a", "2", &token('t')).await;
    let get = world.secrets.get_secret_value().secret_id(world.secret("a")).version_id(token('t'));
    let value = get.send().await.expect("a value");
    if value.version_id() == Some(&token('t')) { "as sent".to_owned() } else { format!("{:?}", value.version_id()) }
}

async fn token_length(world: World) -> String {
    create(&world, "a", "1").await;
    let mut seen = Vec::new();
    for length in [31, 32, 64, 65] {
        seen.push(format!("{length} {}", put(&world, "a", "2", &"t".repeat(length)).await));
    }
    seen.join(", ")
}

async fn repeated_token(world: World) -> String {
    create(&world, "a", "1").await;
    put(&world, "a", "first", &token('t')).await;
    put(&world, "a", "second", &token('u')).await;
    let repeated = put(&world, "a", "first", &token('t')).await;
    format!("{repeated}, current is still the {}", read(&world, "a").await)
}

async fn reused_token(world: World) -> String {
    create(&world, "a", "1").await;
    put(&world, "a", "2", &token('t')).await;
    put(&world, "a", "3", &token('t')).await
}

/// Puts under a label that is not AWSCURRENT.
async fn put_aside(world: &World, text: &str, token: &str) -> String {
    let put = world.secrets.put_secret_value().secret_id(world.secret("a")).secret_string(text).version_stages("mine");
    outcome_of(put.client_request_token(token).send().await)
}

async fn move_current(world: &World, to: &str, from: Option<&str>) -> String {
    let call = world.secrets.update_secret_version_stage().secret_id(world.secret("a")).version_stage("AWSCURRENT");
    outcome_of(call.move_to_version_id(to).set_remove_from_version_id(from.map(str::to_owned)).send().await)
}

async fn staged(world: &World, stage: &str) -> String {
    let get = world.secrets.get_secret_value().secret_id(world.secret("a")).version_stage(stage);
    get.send().await.expect("a value").secret_string.expect("a text")
}

/// A secret with the current version `1`, whose id is 32 times a `1`.
async fn first(world: &World) {
    let create = world.secrets.create_secret().name(world.secret("a")).secret_string("1");
    create.client_request_token(token('1')).send().await.expect("a new secret");
}

async fn versions_of_a_day(world: World) -> String {
    create(&world, "a", "1").await;
    for number in 2..100 {
        assert_eq!(put_numbered(&world, number).await, "accepted", "version {number}");
    }
    let (last, further) = (put_numbered(&world, 100).await, put_numbered(&world, 101).await);
    let again = put_numbered(&world, 100).await;
    format!("100 {last}, 101 {further}, 100 again {again}, current {}", read(&world, "a").await)
}

async fn put_numbered(world: &World, number: usize) -> String {
    put(world, "a", &number.to_string(), &format!("{number:032}")).await
}

async fn moved_label(world: World) -> String {
    first(&world).await;
    put_aside(&world, "2", &token('2')).await;
    let nowhere = move_current(&world, &token('2'), None).await;
    let another = move_current(&world, &token('2'), Some(&token('2'))).await;
    let before = read(&world, "a").await;
    let place = move_current(&world, &token('2'), Some(&token('1'))).await;
    let (after, previous) = (staged(&world, "AWSCURRENT").await, staged(&world, "AWSPREVIOUS").await);
    let again = move_current(&world, &token('2'), Some(&token('1'))).await;
    format!(
        "from nowhere {nowhere}, from another {another}, current {before}; from its place {place}, current {after}, \
         previous {previous}; again {again}, current {}",
        read(&world, "a").await
    )
}

async fn moved_to_nothing(world: World) -> String {
    first(&world).await;
    let moved = move_current(&world, &token('9'), Some(&token('1'))).await;
    format!("{moved}, current {}", read(&world, "a").await)
}

async fn moved_to_unlabelled(world: World) -> String {
    first(&world).await;
    put_aside(&world, "2", &token('2')).await;
    put_aside(&world, "3", &token('3')).await;
    let moved = move_current(&world, &token('2'), Some(&token('1'))).await;
    format!("{moved}, current {}", read(&world, "a").await)
}

async fn read_aside(world: World) -> String {
    first(&world).await;
    let get = || world.secrets.get_secret_value().secret_id(world.secret("a")).version_stage("mine");
    let before = outcome_of(get().send().await);
    let aside = async || {
        let got = get().send().await.expect("a value");
        let id: String = got.version_id().expect("an id").chars().take(1).collect();
        format!("{} of {id}, current {}", got.secret_string().expect("a text"), read(&world, "a").await)
    };
    put_aside(&world, "2", &token('2')).await;
    put_aside(&world, "3", &token('3')).await;
    let put = aside().await;
    move_current(&world, &token('3'), Some(&token('1'))).await;
    format!("before {before}; put aside {put}; moved {}", aside().await)
}

async fn put_after_move(world: World) -> String {
    first(&world).await;
    put_aside(&world, "2", &token('2')).await;
    move_current(&world, &token('2'), Some(&token('1'))).await;
    put(&world, "a", "3", &token('3')).await;
    format!("current {}", read(&world, "a").await)
}

async fn moved_when_deleted(world: World) -> String {
    first(&world).await;
    put_aside(&world, "2", &token('2')).await;
    delete(&world, "a").await;
    let put = put_aside(&world, "3", &token('3')).await;
    format!("put {put}, move {}", move_current(&world, &token('2'), Some(&token('1'))).await)
}

async fn size(world: World) -> String {
    create(&world, "a", "1").await;
    let largest = put(&world, "a", &"x".repeat(65_536), &token('t')).await;
    format!("{largest}, {}", put(&world, "a", &"x".repeat(65_537), &token('u')).await)
}

async fn batch_by_id(world: World) -> String {
    create(&world, "there", "text").await;
    create(&world, "gone", "text").await;
    delete(&world, "gone").await;
    let ids = ["there", "gone", "nowhere"].map(|name| world.secret(name));
    let batch = world.secrets.batch_get_secret_value().set_secret_id_list(Some(ids.to_vec()));
    let batch = batch.send().await.expect("a batch");
    let short = |name: Option<&str>| name.unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let values = batch.secret_values().iter().map(|value| (short(value.name()), value.secret_string()));
    let values = joined(values.map(|(name, text)| format!("{name}={}", text.unwrap_or("none"))));
    let errors = batch.errors().iter().map(|error| (short(error.secret_id()), error.error_code()));
    let errors = joined(errors.map(|(name, code)| format!("{name}={}", code.unwrap_or("none"))));
    format!("{values}; {errors}")
}

async fn batch_kinds(world: World) -> String {
    let batch = || world.secrets.batch_get_secret_value();
    let both = batch().secret_id_list(world.secret("a")).filters(by_name(&[world.secret("a")]));
    format!("both {}, neither {}", outcome_of(both.send().await), outcome_of(batch().send().await))
}

async fn batch_size(world: World) -> String {
    let ids = (0..21).map(|number| world.secret(&number.to_string())).collect();
    outcome_of(world.secrets.batch_get_secret_value().set_secret_id_list(Some(ids)).send().await)
}

async fn filters(world: World) -> String {
    for name in ["connections/a", "connections/b", "Connections/c", "clients/d"] {
        create(&world, name, "text").await;
    }
    let own = |names: &[&str]| by_name(&names.iter().map(|name| world.secret(name)).collect::<Vec<_>>());
    let not_a = by_name(&[format!("!{}", world.secret("connections/a"))]);
    let mut seen = Vec::new();
    for filters in [
        vec![own(&["connections/"])],
        vec![own(&["connections/a", "Connections/"])],
        vec![own(&["connections/"]), not_a],
    ] {
        let batch = world.secrets.batch_get_secret_value().set_filters(Some(filters)).send().await;
        seen.push(names(&world, &batch.expect("a batch")));
    }
    seen.join("; ")
}

async fn pages(world: World) -> String {
    for number in 0..45 {
        create(&world, &number.to_string(), "text").await;
    }
    let (mut sizes, mut seen, mut token) = (Vec::new(), std::collections::HashSet::new(), None);
    loop {
        let batch = world.secrets.batch_get_secret_value().filters(by_name(&[world.secret("")]));
        let page = batch.set_next_token(token).send().await.expect("a page");
        sizes.push(page.secret_values().len());
        seen.extend(page.secret_values().iter().filter_map(|value| value.name.clone()));
        token = page.next_token;
        if token.is_none() {
            let different = if seen.len() == 45 { "all different" } else { "some missing" };
            return format!("{}, {different}", joined(sizes));
        }
    }
}

async fn deleted_in_batch(world: World) -> String {
    create(&world, "a", "text").await;
    create(&world, "b", "text").await;
    delete(&world, "a").await;
    let batch = world.secrets.batch_get_secret_value().filters(by_name(&[world.secret("")])).send().await;
    match batch {
        Ok(batch) if batch.secret_values().len() == 1 && batch.errors().is_empty() => "one value, no errors".to_owned(),
        other => outcome_of(other),
    }
}

async fn deleted_in_list(world: World) -> String {
    create(&world, "a", "text").await;
    create(&world, "b", "text").await;
    delete(&world, "a").await;
    let mut seen = Vec::new();
    for with_deleted in [false, true] {
        let list = world.secrets.list_secrets().filters(by_name(&[world.secret("")]));
        let list = list.include_planned_deletion(with_deleted).send().await.expect("a list");
        let mut names: Vec<_> =
            list.secret_list().iter().filter_map(|entry| entry.name()?.rsplit('/').next()).collect();
        names.sort_unstable();
        seen.push(joined(names));
    }
    seen.join("; ")
}

async fn list_filter(world: World) -> String {
    for name in ["connections/a", "connections/b", "Connections/c", "connections-too/d", "in/connections/e"] {
        create(&world, name, "text").await;
    }
    let list = world.secrets.list_secrets().filters(by_name(&[world.secret("connections/")])).send().await;
    let list = list.expect("a list");
    let own = world.secret("");
    let mut names: Vec<_> = list.secret_list().iter().filter_map(|entry| entry.name()?.strip_prefix(&own)).collect();
    names.sort_unstable();
    joined(names)
}

async fn list_pages(world: World) -> String {
    for number in 0..101 {
        create(&world, &number.to_string(), "text").await;
    }
    let list = |size| world.secrets.list_secrets().filters(by_name(&[world.secret("")])).max_results(size);
    let (mut sizes, mut token) = (Vec::new(), None);
    loop {
        let page = list(100).set_next_token(token).send().await.expect("a page");
        sizes.push(page.secret_list().len());
        token = page.next_token;
        if token.is_none() {
            return format!("{}, 101 {}", joined(sizes), outcome_of(list(101).send().await));
        }
    }
}

async fn deletion(world: World) -> String {
    create(&world, "a", "text").await;
    delete(&world, "a").await;
    let read_code = outcome_of(world.secrets.get_secret_value().secret_id(world.secret("a")).send().await);
    let put_code = put(&world, "a", "new", &token('t')).await;
    let create_code =
        outcome_of(world.secrets.create_secret().name(world.secret("a")).secret_string("new").send().await);
    world.secrets.restore_secret().secret_id(world.secret("a")).send().await.expect("a restored secret");
    format!("read {read_code}, put {put_code}, create {create_code}, restored {}", read(&world, "a").await)
}

async fn recovery_window(world: World) -> String {
    create(&world, "a", "text").await;
    let mut seen = Vec::new();
    for days in [6, 31, 7] {
        let delete = world.secrets.delete_secret().secret_id(world.secret("a")).recovery_window_in_days(days);
        seen.push(format!("{days} {}", outcome_of(delete.send().await)));
    }
    seen.join(", ")
}

async fn forced_deletion(world: World) -> String {
    create(&world, "a", "text").await;
    let delete = world.secrets.delete_secret().secret_id(world.secret("a")).force_delete_without_recovery(true);
    delete.send().await.expect("a deletion");
    outcome_of(world.secrets.create_secret().name(world.secret("a")).secret_string("new").send().await)
}
