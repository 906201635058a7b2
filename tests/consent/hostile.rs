//! What strangers may send. Each gets a plain page with the right status. It reaches neither Zoho
//! nor the stores, changes nothing, and its text is not echoed.

use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;
use token_keeper::lambda::callback::Request;

use testkit::browser::{Browser, title};
use testkit::world::{BASE, World, grant_name};

/// A user has just agreed at Zoho, and the browser is on the way back.
struct Scene {
    world: World,
    browser: Browser,
    link: String,
    callback: String,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let (link, browser) = (world.link("crm-prod"), Browser::default());
        let zoho = browser.begin(&world, &link).await;
        let callback = browser.decide(&zoho, "accept").await;
        world.faults.forget_calls();
        Self { world, browser, link, callback }
    }

    /// Checks that the request gets this status and heading, that Zoho is not asked, and that
    /// nothing is written.
    async fn check(&self, request: &Request, status: u16, heading: &str) {
        let before = self.world.grant("crm-prod");
        let response = self.world.respond(request).await;
        let shown = format!("{} {}?{}", request.method, request.path, request.query);
        assert_eq!((response.status, title(&response)), (status, heading), "{shown}");
        assert_eq!((self.world.zoho_calls(), self.world.writes()), (0, 0), "{shown}");
        assert_eq!(self.world.grant("crm-prod"), before, "{shown}");
        for echo in ["evil", "<script", "\u{fffd}", "hush"] {
            assert!(!response.body.contains(echo), "{shown}: {}", response.body);
        }
    }

    /// The genuine callback, with another query.
    async fn check_query(&self, query: &str, status: u16, heading: &str) {
        let request = Request { query: query.to_owned(), ..self.browser.request(&self.callback) };
        self.check(&request, status, heading).await;
    }

    fn query(&self) -> &str {
        self.callback.split_once('?').expect("a query").1
    }

    /// The genuine query with one parameter's value replaced.
    fn with(&self, name: &str, value: &str) -> String {
        let pairs = self.query().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| match pair.split_once('=') {
            Some((found, _)) if found == name => format!("{name}={value}"),
            _ => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    /// A parameter's value in the genuine query, still encoded.
    fn value(&self, name: &str) -> &str {
        let value = self.query().split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.expect("a parameter of Zoho's redirect")
    }

    /// Checks that after all these attempts the user's consent still works.
    async fn still_works(&self) {
        let page = self.browser.open(&self.world, &self.callback).await;
        assert_eq!(title(&page), "Connected");
    }
}

#[tokio::test]
async fn an_accounts_server_that_is_not_exactly_in_the_table_gets_nothing() {
    let scene = Scene::new().await;
    let eu = scene.world.zoho.accounts("eu");
    let host = eu.strip_prefix("http://").expect("a loopback address").to_owned();
    let port = host.rsplit(':').next().expect("a port");
    let mut servers: Vec<String> = [
        "https://evil.example",
        "https://accounts.zoho.com.evil.example",
        "https://accounts-zoho.com",
        "https://accounts.zoho.jp@evil.example",
        "https://evil.example/accounts.zoho.jp",
        "https://evil.example#accounts.zoho.jp",
        "https://evil.example?accounts.zoho.jp",
        "https://accounts.zoho.jp:8443",
        "http://accounts.zoho.jp",
        "https://accounts.zoho.jp.",
        "https://Accounts.Zoho.jp",
        "https://accounts.zoho.jp/",
        "https://accounts.zoho.jp/oauth",
        "https://accounts%2ezoho.jp",
        "https://203.0.113.7",
        "https://[2001:db8::7]",
        "//accounts.zoho.jp",
        "accounts.zoho.jp",
        "javascript:alert(1)",
        "file:///etc/passwd",
        " https://accounts.zoho.jp",
        "https://accounts.zoho.jp\u{0}",
        "https://accounts.zoho.jp\r\nhost: evil.example",
        "https://xn--accounts-zoho.example",
        "https://\u{430}ccounts.zoho.jp",
        "<script>evil</script>",
        "",
    ]
    .map(str::to_owned)
    .into();
    servers.extend([
        format!("https://{host}"),
        format!("HTTP://{host}"),
        format!("{eu}/"),
        format!("{eu}/oauth"),
        format!("{eu}?q"),
        format!("{eu}#f"),
        format!("http://user:hush@{host}"),
        format!("http://localhost:{port}"),
        format!("http://127.1:{port}"),
        format!("http://2130706433:{port}"),
    ]);
    for server in &servers {
        let encoded: String = url::form_urlencoded::byte_serialize(server.as_bytes()).collect();
        scene.check_query(&scene.with("accounts-server", &encoded), 400, "Unknown data centre").await;
    }
    scene.still_works().await;
}

#[tokio::test]
async fn repeated_missing_oversized_or_binary_parameters_are_refused() {
    let scene = Scene::new().await;
    let (query, state, code) = (scene.query().to_owned(), scene.value("state"), scene.value("code"));
    let server = scene.value("accounts-server");
    for query in [
        String::new(),
        "&&&".to_owned(),
        "=".to_owned(),
        "state".to_owned(),
        format!("code={code}"),
        format!("state={state}"),
        format!("state={state}&code="),
        format!("state=&code={code}"),
        format!("{query}&state={state}"),
        format!("{query}&code={code}"),
        format!("{query}&accounts-server={server}"),
        format!("{query}&accounts-server=https%3A%2F%2Fevil.example"),
        format!("{query}&error=a&error=b"),
        format!("{query}&sta%74e=x"),
        scene.with("code", "1000.%FF%FE"),
        scene.with("code", "1000.a%0D%0Ab"),
        scene.with("code", "1000.a+b"),
        scene.with("code", &"x".repeat(4097)),
        scene.with("state", "%C3%28"),
        scene.with("accounts-server", "%FF"),
        format!("{query}&padding={}", "x".repeat(9000)),
        format!("state={}&code={code}", "x".repeat(4000)),
        "a=".repeat(4096),
        "%".repeat(300),
        "\u{1f4a5}=\u{1f4a5}".to_owned(),
    ] {
        scene.check_query(&query, 400, "This link is not valid").await;
    }
    scene.still_works().await;
}

#[tokio::test]
async fn a_state_that_is_forged_truncated_or_of_another_purpose_is_refused() {
    let scene = Scene::new().await;
    let state = scene.value("state").to_owned();
    let (payload, signature) = state.split_once('.').expect("a signed text");
    let ticket = scene.link.split_once("ticket=").expect("a ticket").1.to_owned();
    let other_key = {
        let other = World::new().await;
        other.aws.put_secret("token-keeper/signing-key", "an0ther-51gn1ng-key-of-more-than-32-chars");
        let browser = Browser::default();
        let zoho = browser.begin(&other, &other.link("crm-prod")).await;
        let callback = browser.decide(&zoho, "accept").await;
        callback.split_once("state=").expect("a state").1.split('&').next().expect("a value").to_owned()
    };
    for state in [
        "x".to_owned(),
        ".".to_owned(),
        format!(".{signature}"),
        format!("{payload}."),
        format!("{payload}.{payload}"),
        format!("{signature}.{signature}"),
        format!("{payload}.{signature}."),
        format!("{payload}.{signature}.{signature}"),
        format!("{payload}.{signature}%3D"),
        format!("{payload}.{signature}A"),
        format!("{payload}%20.{signature}"),
        format!("{payload}.{}", &signature[..42]),
        format!("{}.{signature}", &payload[..payload.len() - 1]),
        format!("{payload}A.{signature}"),
        format!("{payload}.{}", "A".repeat(43)),
        state.to_ascii_lowercase(),
        state.chars().rev().collect(),
        ticket,
        other_key,
    ] {
        scene.check_query(&scene.with("state", &state), 400, "This link is not valid").await;
    }
    // The reverse: a state is not a ticket.
    for ticket in [state.as_str(), "", "x", &state.replace('.', "%2E%2E"), "..%2F..%2Fetc"] {
        let request = scene.browser.request(&format!("{BASE}/connect?ticket={ticket}"));
        scene.check(&request, 400, "This link is not valid").await;
    }
    for query in ["", "ticket", &format!("{0}&{0}", scene.link.split_once('?').expect("a query").1)] {
        let request = Request { query: query.to_owned(), ..scene.browser.request(&format!("{BASE}/connect")) };
        scene.check(&request, 400, "This link is not valid").await;
    }
    scene.still_works().await;
}

#[tokio::test]
async fn malformed_values_are_refused_before_the_signing_key_is_read() {
    let scene = Scene::new().await;
    let stranger = World::new().await;
    for path in
        ["/callback?state=x&code=y", "/callback", "/connect?ticket=a.b", "/", "/healthz", "/.env", "/wp-login.php"]
    {
        let request = scene.browser.request(&format!("{BASE}{path}"));
        stranger.respond(&request).await;
    }
    assert_eq!(stranger.faults.calls().len(), 0);
}

#[tokio::test]
async fn a_state_in_another_browser_or_with_another_consents_cookie_is_refused() {
    let scene = Scene::new().await;
    let genuine = scene.browser.request(&scene.callback);
    let [cookie] = &genuine.cookies[..] else { panic!("one cookie") };
    let (name, value) = cookie.split_once('=').expect("a pair");
    let other = Browser::default();
    other.begin(&scene.world, &scene.world.link("other")).await;
    let others = other.request(&scene.callback).cookies;
    let (_, others_value) = others[0].split_once('=').expect("a pair");
    scene.world.faults.forget_calls();
    for cookies in [
        vec![],
        others.clone(),
        vec![format!("{name}={others_value}")],
        vec![format!("{name}=")],
        vec![format!("{name}")],
        vec![format!("{name}={value}x")],
        vec![format!("{name}={}", value.to_ascii_lowercase())],
        // Without the `__Host-` prefix, any page of the domain could have set it.
        vec![cookie.trim_start_matches("__Host-").to_owned()],
        vec![format!("x{cookie}")],
        vec!["=".to_owned(), ";;;".to_owned(), "\u{1f36a}".to_owned(), "x".repeat(5000)],
    ] {
        let request = Request { cookies, ..scene.browser.request(&scene.callback) };
        scene.check(&request, 403, "Not the same browser").await;
    }
    scene.still_works().await;
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let scene = Scene::new().await;
    for method in ["HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "get", ""] {
        for url in [scene.callback.as_str(), &scene.link, &format!("{BASE}/healthz")] {
            let request = Request { method: method.to_owned(), ..scene.browser.request(url) };
            scene.check(&request, 405, "Not possible").await;
        }
    }
    for path in [
        "/",
        "",
        "/callback/",
        "//callback",
        "/Callback",
        "/callback/../connect",
        "/callback%2F",
        "/connect/x",
        "/evil",
        "/healthz/",
    ] {
        let request = Request { path: path.to_owned(), ..scene.browser.request(&scene.callback) };
        scene.check(&request, 404, "Not found").await;
    }
    scene.still_works().await;
}

#[tokio::test]
async fn a_code_that_zoho_refuses_or_an_error_instead_of_one_changes_nothing() {
    let scene = Scene::new().await;
    for (error, status, heading) in [
        ("access_denied", 403, "Not connected"),
        ("server_error", 502, "Zoho reported an error"),
        ("invalid_scope", 502, "Zoho refuses a scope"),
        ("%3Cscript%3Eevil%3C%2Fscript%3E", 502, "Zoho reported an error"),
        ("", 502, "Zoho reported an error"),
    ] {
        let query = format!("state={}&error={error}", scene.value("state"));
        scene.check_query(&query, status, heading).await;
        scene.check_query(&format!("{query}&code={}", scene.value("code")), status, heading).await;
    }
    let before = scene.world.grant("crm-prod");
    let page =
        scene.browser.open(&scene.world, &format!("{BASE}/callback?{}", scene.with("code", "1000.never.given"))).await;
    assert_eq!((page.status, title(&page)), (400, "Zoho's code is too old"));
    assert_eq!((scene.world.grant("crm-prod"), scene.world.writes()), (before, 0));
    scene.still_works().await;
}

#[tokio::test]
async fn a_redirect_of_an_allowed_host_is_not_followed() {
    let scene = Scene::new().await;
    let elsewhere = World::new().await;
    let to = format!("{}/oauth/v2/token", elsewhere.zoho.accounts("eu"));
    scene.world.faults.add(Rule::on("zoho", "authorization_code"), Fault::Respond(answers::redirect(&to)));
    let page = scene.browser.open(&scene.world, &scene.callback).await;
    assert_eq!((page.status, title(&page)), (502, "Zoho is out of order"));
    assert_eq!((elsewhere.zoho_calls(), scene.world.writes()), (0, 0));
}

#[tokio::test]
async fn a_repeated_callback_after_the_consent_gets_a_page_that_says_so() {
    let scene = Scene::new().await;
    let request = scene.browser.request(&scene.callback);
    scene.still_works().await;
    let stored = scene.world.aws.secret_version(&grant_name("crm-prod"));
    scene.world.faults.forget_calls();
    scene.check(&request, 409, "Already connected").await;
    assert_eq!(scene.world.aws.secret_version(&grant_name("crm-prod")), stored);
}
