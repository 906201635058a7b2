//! A browser without a screen: it follows redirects to the callback and keeps its cookies.

use std::cell::RefCell;
use std::collections::BTreeMap;

use token_keeper::http::{self, Roots};
use token_keeper::lambda::callback::{Request, Response};

use crate::world::{BASE, World};

/// A browser.
#[derive(Default)]
pub struct Browser {
    /// The cookies, by name.
    pub cookies: RefCell<BTreeMap<String, String>>,
}

impl Browser {
    /// The request for a URL of the callback.
    ///
    /// # Panics
    /// If the URL is another server's.
    pub fn request(&self, url: &str) -> Request {
        let rest = url.strip_prefix(BASE).expect("an address of the callback");
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let cookies = self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        Request { method: "GET".to_owned(), path: path.to_owned(), query: query.to_owned(), cookies, domain: None }
    }

    /// Opens a URL of the callback.
    ///
    /// # Panics
    /// If a cookie in the answer is malformed.
    pub async fn open(&self, world: &World, url: &str) -> Response {
        let response = world.respond(&self.request(url)).await;
        for cookie in &response.cookies {
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
        }
        response
    }

    /// Opens the operator's link. Returns the URL at the provider to which it leads.
    ///
    /// # Panics
    /// If the link is refused.
    pub async fn begin(&self, world: &World, link: &str) -> String {
        let response = self.open(world, link).await;
        assert_eq!(response.status, 303, "{}", response.body);
        header(&response, "location").to_owned()
    }

    /// The user decides at the provider. Returns the URL to which it sends the browser.
    ///
    /// # Panics
    /// If the provider does not redirect.
    pub async fn decide(&self, question: &str, decision: &str) -> String {
        let decide = question.replace("/oauth/v2/auth?", "/oauth/v2/decide?").replace("/authorize?", "/decide?");
        let post = http::client(Roots::BuiltIn, None).expect("a client").post(decide).form(&[("decision", decision)]);
        let answer = post.send().await.expect("an answer of the consent page");
        let location = answer.headers().get("location").map(|to| to.to_str().expect("text").to_owned());
        let status = answer.status();
        location.unwrap_or_else(|| panic!("the consent page answered {status}, no redirect"))
    }

    /// The whole consent, with a user who agrees.
    pub async fn consent(&self, world: &World, link: &str) -> Response {
        let question = self.begin(world, link).await;
        let callback = self.decide(&question, "accept").await;
        self.open(world, &callback).await
    }
}

/// A header of an answer, or an empty text.
pub fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.iter().find(|(header, _)| *header == name).map_or("", |(_, value)| value)
}

/// The page's heading.
pub fn title(response: &Response) -> &str {
    let heading = response.body.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    heading.map_or("no page", |(heading, _)| heading)
}
