//! The callback on a loopback port, for `connect --local`. It uses the callback function's handler.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use token_keeper::address::BaseUrl;
use token_keeper::aws::{ParameterStore, SecretsManager};
use token_keeper::consent::Consent;
use token_keeper::lambda::callback::{Request, Response, respond};
use token_keeper::zoho::Zoho;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use crate::console::{Console, Failure};

/// How long the browser may take to fetch the last page.
const LAST_PAGE: Duration = Duration::from_secs(2);

type Asked = (Request, oneshot::Sender<Response>);

/// Binds the loopback port of `base`.
pub(super) async fn listen(base: &BaseUrl) -> Result<TcpListener, Failure> {
    let port = base.local_port();
    let port: u16 = port.ok_or_else(|| {
        let remedy = "use http://localhost and a port, such as http://localhost:8765";
        Failure::new(format!("--local cannot answer at {base}"), remedy)
    })?;
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(|error| {
        let remedy = format!("free the port, or use another: --callback-url http://localhost:{}", port.wrapping_add(1));
        Failure::new(format!("port {port} of this machine cannot be used: {error}"), remedy)
    })
}

/// Answers at `base` until an account is connected or the link has expired.
pub(super) async fn until_connected(
    listener: TcpListener,
    consent: &Consent<SecretsManager, Zoho, ParameterStore>,
    base: &BaseUrl,
    life: SignedDuration,
    console: &dyn Console,
) -> Result<(), Failure> {
    let (ask, mut asked) = mpsc::channel::<Asked>(16);
    let mut connections = JoinSet::new();
    let mut over = std::pin::pin!(sleep(life.unsigned_abs()));
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, ask.clone()));
            },
            // Answered here, not in the connection's task: if the browser goes away, an exchange
            // that has begun still finishes.
            Some((request, answer)) = asked.recv() => {
                let response = respond(&request, consent, Some(base)).await;
                let (path, status) = (request.path.as_str(), response.status);
                console.show(&format!("  {} {path}: {status}", request.method));
                let connected = path.ends_with("/callback") && status == 200;
                let _gone = answer.send(response);
                if connected {
                    let _idle = timeout(LAST_PAGE, connections.join_all()).await;
                    return Ok(());
                }
            },
            () = &mut over => {
                return Err(Failure::new("nobody agreed before the link expired", "run the command again"));
            }
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
