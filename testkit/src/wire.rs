//! A loopback HTTP/1.1 server around a [`StandIn`], over TLS if a test wants it. It records every
//! call. [`Faults`] make it misbehave.
//!
//! Each server runs on its own thread, so it answers even if the program under test blocks its
//! runtime.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

pub use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
pub use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::tls::Certificate;

/// One request, as a stand-in understands it. Faults are chosen and calls are counted by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `zoho`, `oauth`, `secretsmanager`, `ssm` or `sqs`.
    pub service: &'static str,
    /// The operation's name: `PutParameter`, `refresh_token`, …
    pub operation: String,
    /// The subject: the name of a parameter or secret, a refresh token, or nothing.
    pub subject: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.service, self.operation, self.subject)
    }
}

/// A service in memory. It answers at once: [`Faults`] add delays and errors.
pub trait StandIn: Send + Sync + 'static {
    /// Names the call without executing it.
    fn identify(&self, request: &Request<Bytes>) -> Call;
    /// Executes the call and answers it.
    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes>;
}

/// A way in which a service misbehaves.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Sends this answer. The service never sees the call.
    Respond(Response<Bytes>),
    /// Closes the connection without an answer. If `handled`, the service has executed the call.
    Drop {
        /// Whether the service executes the call first.
        handled: bool,
    },
    /// Never answers. If `handled`, the service has executed the call.
    Hang {
        /// Whether the service executes the call first.
        handled: bool,
    },
    /// The service executes the call, and the connection closes in the middle of the answer's body.
    Truncate,
    /// The service executes the call, and this answer is sent instead of its own.
    Replace(Response<Bytes>),
    /// Sends the service's answer after this delay.
    Delay(Duration),
    /// Waits before the service executes the call.
    Hold(Hold),
}

/// The calls that a fault applies to.
#[derive(Clone, Debug)]
pub struct Rule {
    service: &'static str,
    operation: Option<String>,
    subject: Option<String>,
    skip: usize,
    times: usize,
}

impl Rule {
    /// Every call of `service`.
    pub fn service(service: &'static str) -> Self {
        Self { service, operation: None, subject: None, skip: 0, times: usize::MAX }
    }

    /// Every call of one operation.
    pub fn on(service: &'static str, operation: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..Self::service(service) }
    }

    /// Only calls about `subject`.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// Lets the first `skip` matching calls through.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Stops after `times` faults.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Whether the rule applies to this call. Counts the call.
    fn befalls(&mut self, call: &Call) -> bool {
        let matches = self.service == call.service
            && self.operation.as_ref().is_none_or(|operation| *operation == call.operation)
            && self.subject.as_ref().is_none_or(|subject| *subject == call.subject);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// The record of calls and the planned faults. Several servers can share one: it numbers calls
/// across all of them.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    cut: Arc<Notify>,
    certificate: Option<Certificate>,
}

#[derive(Default)]
struct Plan {
    calls: Vec<Call>,
    rules: Vec<(Rule, Fault)>,
    latency: HashMap<&'static str, Duration>,
    cut: Option<Cut>,
    holds: HashMap<usize, Hold>,
}

struct Cut {
    at: usize,
    handled: bool,
}

/// A call that waits. Other calls go on.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    reached: Arc<Notify>,
    released: Arc<Notify>,
}

impl Hold {
    /// Waits until the call has come.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the call go on. The service executes it now.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

impl Faults {
    /// Only records, without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same record and plan, for servers that speak TLS with this certificate.
    #[must_use]
    pub fn over_tls(&self, certificate: &Certificate) -> Self {
        Self { certificate: Some(certificate.clone()), ..self.clone() }
    }

    /// Adds a fault. If several match a call, the one added first wins.
    pub fn add(&self, rule: Rule, fault: Fault) {
        self.plan().rules.push((rule, fault));
    }

    /// Holds the `at`-th call from now, counted from 0, until it is released.
    pub fn hold_at(&self, at: usize) -> Hold {
        let (mut plan, hold) = (self.plan(), Hold::default());
        let number = plan.calls.len() + at;
        plan.holds.insert(number, hold.clone());
        hold
    }

    /// Removes every fault, the latency, the cut and the holds. Keeps the record.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.holds.clear();
        plan.rules.clear();
        plan.latency.clear();
        plan.cut = None;
    }

    /// Delays the answers of `service` by this time.
    pub fn latency(&self, service: &'static str, latency: Duration) {
        self.plan().latency.insert(service, latency);
    }

    /// The calls so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    /// How many calls of this operation there have been.
    pub fn count(&self, service: &str, operation: &str) -> usize {
        self.plan().calls.iter().filter(|call| call.service == service && call.operation == operation).count()
    }

    /// Empties the record, so that the next part of a test counts from zero.
    pub fn forget_calls(&self) {
        self.plan().calls.clear();
    }

    /// Cuts everything off at the `at`-th call from now, counted from 0: that call and all later
    /// ones get no answer. If `handled`, the service has executed that call.
    /// [`until_cut`](Faults::until_cut) waits for it.
    pub fn cut_at(&self, at: usize, handled: bool) {
        let mut plan = self.plan();
        plan.cut = Some(Cut { at: plan.calls.len() + at, handled });
    }

    /// Waits until the cut-off call has come.
    pub async fn until_cut(&self) {
        self.cut.notified().await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no test panics while it holds the plan")
    }

    /// Records the call and says how to treat it.
    fn receive(&self, call: Call) -> Option<Fault> {
        let mut plan = self.plan();
        let number = plan.calls.len();
        let fault = plan.rules.iter_mut().find_map(|(rule, fault)| rule.befalls(&call).then(|| fault.clone()));
        let latency = plan.latency.get(call.service).copied();
        plan.calls.push(call);
        if let Some(cut) = &plan.cut
            && number >= cut.at
        {
            let handled = cut.handled && number == cut.at;
            self.cut.notify_one();
            return Some(Fault::Hang { handled });
        }
        let held = plan.holds.remove(&number).map(Fault::Hold);
        held.or(fault).or(latency.map(Fault::Delay))
    }
}

/// A running server. It stops when this value is dropped.
pub struct Server {
    address: SocketAddr,
    tls: bool,
    connections: Arc<AtomicUsize>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Serves `stand_in` on a free loopback port.
    pub fn start(stand_in: Arc<impl StandIn>, faults: Faults) -> Self {
        Self::start_on(0, stand_in, faults)
    }

    /// Serves `stand_in` on this loopback port.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start_on(port: u16, stand_in: Arc<impl StandIn>, faults: Faults) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a loopback port to listen on");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("the address of a bound listener");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let tls = faults.certificate.is_some();
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, stand_in, faults, &opened) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, tls, connections, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:{port}`, without a trailing slash. Over TLS `https://localhost:{port}`,
    /// because certificates are for names.
    pub fn url(&self) -> String {
        if self.tls { format!("https://localhost:{}", self.address.port()) } else { format!("http://{}", self.address) }
    }

    /// How often a client has connected, also without success.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, stand_in: Arc<impl StandIn>, faults: Faults, opened: &AtomicUsize) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        opened.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        let (stand_in, faults) = (stand_in.clone(), faults.clone());
        tokio::spawn(async move {
            match &faults.certificate {
                None => converse(stream, stand_in.as_ref(), &faults).await,
                // A client that refuses the certificate closes the connection here.
                Some(certificate) => {
                    if let Ok(stream) = certificate.acceptor().accept(stream).await {
                        converse(stream, stand_in.as_ref(), &faults).await;
                    }
                }
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, stand_in: &impl StandIn, faults: &Faults) {
    let service = service_fn(|request| answer(request, stand_in, faults));
    // A dropped connection ends with an error here. That is intended.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Closes the connection without an answer.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

async fn answer(
    request: Request<Incoming>,
    stand_in: &impl StandIn,
    faults: &Faults,
) -> Result<Response<PartBody>, Dropped> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let request = Request::from_parts(head, body);
    let whole = |response: Response<Bytes>| Ok(response.map(PartBody::whole));
    match faults.receive(stand_in.identify(&request)) {
        None => whole(stand_in.handle(&request)),
        Some(Fault::Respond(response)) => whole(response),
        Some(Fault::Replace(response)) => {
            stand_in.handle(&request);
            whole(response)
        }
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            whole(stand_in.handle(&request))
        }
        Some(Fault::Hold(hold)) => {
            hold.reached.notify_one();
            hold.released.notified().await;
            whole(stand_in.handle(&request))
        }
        Some(Fault::Truncate) => Ok(stand_in.handle(&request).map(|body| PartBody::half(&body))),
        Some(Fault::Drop { handled }) => {
            if handled {
                stand_in.handle(&request);
            }
            Err(Dropped)
        }
        Some(Fault::Hang { handled }) => {
            if handled {
                stand_in.handle(&request);
            }
            std::future::pending::<Infallible>().await;
            unreachable!("nothing ends a pending future")
        }
    }
}

/// A body that announces its full length but may send only a part.
struct PartBody {
    announced: u64,
    rest: Option<Bytes>,
}

impl PartBody {
    fn whole(body: Bytes) -> Self {
        Self { announced: body.len() as u64, rest: Some(body) }
    }

    fn half(body: &Bytes) -> Self {
        Self { announced: body.len() as u64, rest: Some(body.slice(..body.len() / 2)) }
    }
}

impl Body for PartBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        Poll::Ready(match self.rest.take() {
            Some(part) if part.len() as u64 == self.announced => {
                self.announced = 0;
                (!part.is_empty()).then(|| Ok(Frame::data(part)))
            }
            Some(part) => Some(Ok(Frame::data(part))),
            None if self.announced > 0 => Some(Err(Dropped)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.announced == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
