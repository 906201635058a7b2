//! The consent page, and what follows the user's decision. The page's form carries the page's
//! query, so the server remembers nothing in between. It checks the decision as it checked the
//! question.

use bytes::Bytes;
use hyper::Response;
use url::form_urlencoded;

use super::answers;
use super::parameters::Parameters;
use super::settings::User;
use super::state::{Code, State};

/// The address to which the page's form is posted.
pub(super) const DECIDE: &str = "/oauth/v2/decide";

/// A request for consent that the page may show to a user.
struct Asked {
    client_id: String,
    redirect_uri: String,
    scopes: Vec<String>,
    state: Option<String>,
    challenge: Option<String>,
    offline: bool,
    prompt: bool,
}

impl Asked {
    fn parse(state: &State, data_center: &str, query: &str) -> Result<Self, &'static str> {
        let query = Parameters::parse(query.as_bytes());
        let client = state.client(data_center, query.get("client_id")).ok_or("invalid_client")?;
        if !client.redirect_uris.iter().any(|registered| registered == query.get("redirect_uri")) {
            return Err("invalid_redirect_uri");
        }
        if query.get("response_type") != "code" {
            return Err("invalid_response_type");
        }
        if query.get("scope").is_empty() {
            return Err("invalid_scope");
        }
        let challenge = query.find("code_challenge");
        if challenge.is_some() && query.get("code_challenge_method") != "S256" {
            return Err("invalid_code_challenge_method");
        }
        Ok(Self {
            client_id: query.get("client_id").to_owned(),
            redirect_uri: query.get("redirect_uri").to_owned(),
            scopes: query.get("scope").split(',').map(str::to_owned).collect(),
            state: query.find("state").map(str::to_owned),
            challenge: challenge.map(str::to_owned),
            offline: query.get("access_type") == "offline",
            prompt: query.get("prompt") == "consent",
        })
    }

    /// The answer to scopes that Zoho does not know.
    fn refused_scopes(&self, state: &State) -> Option<Response<Bytes>> {
        let known = state.settings.known_scopes.as_ref()?;
        let refused = self.scopes.iter().any(|scope| !known.contains(scope));
        let refusal =
            || state.settings.scope_error.map_or_else(|| error_page("Invalid OAuth Scope"), |code| self.refuse(code));
        refused.then(refusal)
    }

    /// Redirects to the client with this error.
    fn refuse(&self, code: &str) -> Response<Bytes> {
        let echoed = self.state.as_deref().map(|state| ("state", state));
        let parameters: Vec<_> = [("error", code)].into_iter().chain(echoed).collect();
        self.redirect(&parameters, "")
    }

    /// Redirects to the client with these parameters, in this order.
    fn redirect(&self, parameters: &[(&str, &str)], end: &str) -> Response<Bytes> {
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let parameters = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        answers::redirect(&format!("{}{joint}{parameters}{end}", self.redirect_uri))
    }
}

pub(super) fn ask(state: &State, data_center: &str, query: &str) -> Response<Bytes> {
    let asked = match Asked::parse(state, data_center, query) {
        Ok(asked) => asked,
        Err(why) => return error_page(why),
    };
    if let Some(refusal) = asked.refused_scopes(state) {
        return refusal;
    }
    let scopes: Vec<_> = asked.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
    let body = format!(
        "<p id=\"question\">The application <code>{}</code> asks for access to your account in the data centre \
         <code>{data_center}</code>:</p><ul>{}</ul>\
         <form method=\"post\" action=\"{DECIDE}?{}\" aria-describedby=\"question\">\
         <button type=\"submit\" name=\"decision\" value=\"accept\">Accept</button> \
         <button type=\"submit\" name=\"decision\" value=\"refuse\">Refuse</button></form>",
        escape(&asked.client_id),
        scopes.concat(),
        escape(query),
    );
    answers::page(200, "Consent", &body)
}

/// The field `user` says by address that somebody else sits at the browser.
pub(super) fn decide(state: &mut State, data_center: &str, query: &str, form: &Parameters) -> Response<Bytes> {
    let asked = match Asked::parse(state, data_center, query) {
        Ok(asked) => asked,
        Err(why) => return error_page(why),
    };
    if let Some(refusal) = asked.refused_scopes(state) {
        return refusal;
    }
    match form.get("decision") {
        "accept" => {
            let user = form.find("user").map_or_else(|| state.settings.user.clone(), User::with_email);
            accept(state, data_center, &asked, user)
        }
        "refuse" => asked.refuse("access_denied"),
        _ => error_page("invalid_decision"),
    }
}

/// The user's home data centre takes over: it makes the code, and the redirect names it.
fn accept(state: &mut State, data_center: &str, asked: &Asked, user: User) -> Response<Bytes> {
    let home = state.settings.home.clone().unwrap_or_else(|| data_center.to_owned());
    let first = state.consents(&home, &asked.client_id);
    let code = Code {
        data_center: home.clone(),
        client_id: asked.client_id.clone(),
        scopes: state.granted(&asked.scopes),
        user,
        redirect_uri: Some(asked.redirect_uri.clone()),
        challenge: asked.challenge.clone(),
        offline: asked.offline && (first || asked.prompt),
    };
    let code = state.issue_code(code);
    let mut parameters: Vec<_> = asked.state.as_deref().map(|state| ("state", state)).into_iter().collect();
    parameters.extend([("code", &*code), ("location", &*home)]);
    if state.settings.redirect_names_accounts_server {
        let accounts = state.accounts.iter().filter(|(name, _)| *name == home);
        parameters.extend(accounts.map(|(_, url)| ("accounts-server", url.as_str())));
    }
    asked.redirect(&parameters, "&")
}

pub(super) fn error_page(code: &str) -> Response<Bytes> {
    answers::page(400, "Error occurred", &format!("<p>{code}</p>"))
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
