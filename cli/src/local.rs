//! The callback on a loopback port, for `connect --local`. It uses the callback function's handler.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use token_keeper::address::BaseUrl;
use token_keeper::aws::{ParameterStore, SecretsManager};
use token_keeper::consent::Consent;
use token_keeper::issuer::Providers;
use token_keeper::lambda::callback::{Request, Response, respond};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use crate::console::{Console, Failure};

/// How long the browser may take to fetch the last page.
const LAST_PAGE: Duration = Duration::from_secs(2);

type Asked = (Request, oneshot::Sender<Response>);

/// "Address family not supported by protocol" on Linux, macOS and Windows: no IPv6 here. Rust has
/// no name for it.
const NO_SUCH_FAMILY: [i32; 3] = [97, 47, 10047];

/// Binds every address of this machine that `base` leads to: a browser may try any of them, and
/// another user of this machine must not answer there.
pub(super) async fn listen(base: &BaseUrl) -> Result<Vec<TcpListener>, Failure> {
    let addresses = base.loopback().ok_or_else(|| {
        let remedy = "leave --callback-url out, or give http://localhost and a port: http://localhost:8765";
        Failure::new(format!("--local cannot answer at {base}"), remedy)
    })?;
    bind(&addresses).await
}

/// Binds each address that the machine has.
async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        let refused = |error: &io::Error| {
            let other = address.port().wrapping_add(1);
            let remedy = format!("free the port, or use another: --callback-url http://localhost:{other}");
            Failure::new(format!("{address} of this machine cannot be used: {error}"), remedy)
        };
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_not_here(&error) => missing = Some(refused(&error)),
            Err(error) => return Err(refused(&error)),
        }
    }
    match missing {
        Some(failure) if listeners.is_empty() => Err(failure),
        _ => Ok(listeners),
    }
}

/// Whether the machine does not have this address, so that nobody can answer there.
fn is_not_here(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| NO_SUCH_FAMILY.contains(&code))
}

/// Answers at `base` until an account is connected or the link has expired.
pub(super) async fn until_connected(
    listeners: Vec<TcpListener>,
    consent: &Consent<SecretsManager, Providers, ParameterStore>,
    base: &BaseUrl,
    life: SignedDuration,
    console: &Console<'_>,
) -> Result<(), Failure> {
    let (ask, mut asked) = mpsc::channel::<Asked>(16);
    let (came, mut streams) = mpsc::channel::<TcpStream>(16);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, came.clone()));
    }
    let mut connections = JoinSet::new();
    let mut over = std::pin::pin!(sleep(life.unsigned_abs()));
    loop {
        tokio::select! {
            Some(stream) = streams.recv() => {
                connections.spawn(serve(stream, ask.clone()));
            },
            // Answered here, not in the connection's task: if the browser goes away, an exchange
            // that has begun still finishes.
            Some((request, answer)) = asked.recv() => {
                console.terminal.finish_first(request.path.ends_with("/callback"));
                let response = respond(&request, consent, Some(base)).await;
                let (path, status) = (request.path.as_str(), response.status);
                console.say(&format!("  {} {path}: {status}", request.method));
                let connected = path.ends_with("/callback") && status == 200;
                let _gone = answer.send(response);
                if connected {
                    let _idle = timeout(LAST_PAGE, connections.join_all()).await;
                    return Ok(());
                }
                console.terminal.finish_first(false);
            },
            () = &mut over => {
                return Err(Failure::new("nobody agreed before the link expired", "run the command again"));
            }
        }
    }
}

async fn accept(listener: TcpListener, came: mpsc::Sender<TcpStream>) {
    while !came.is_closed() {
        if let Ok((stream, _)) = listener.accept().await {
            let _over = came.send(stream).await;
        }
    }
}

async fn serve(stream: TcpStream, ask: mpsc::Sender<Asked>) {
    let service = service_fn(async |request: hyper::Request<Incoming>| {
        let headers = request.headers().get_all("cookie").iter();
        let request = Request {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            cookies: headers.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect(),
            domain: None,
        };
        let (answer, answered) = oneshot::channel();
        let _ended = ask.send((request, answer)).await;
        Ok::<_, Infallible>(answered.await.map_or_else(|_| hyper::Response::default(), into_hyper))
    });
    // If the connection breaks, the browser shows it. There is nothing to do here.
    let _broken = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
}

fn into_hyper(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    for cookie in response.cookies {
        builder = builder.header("set-cookie", cookie);
    }
    builder.body(Full::from(response.body)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_the_machine_does_not_have_is_left_out() {
        let here: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        // For documentation only (RFC 5737).
        let nowhere: SocketAddr = "192.0.2.1:0".parse().expect("an address");
        assert_eq!(bind(&[here, nowhere]).await.expect("one listener").len(), 1);
        assert!(bind(&[nowhere]).await.is_err());
        assert!(is_not_here(&io::Error::from_raw_os_error(NO_SUCH_FAMILY[0])));
    }
}
