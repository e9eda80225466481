//! A TCP proxy that breaks connections on command, in the ways networks do.
//!
//! It runs on a thread of its own, so that tests without a runtime can use it, and its faults can be changed at any
//! time; they hold for open connections and for new ones.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::postgres::role;
use super::wait::{eventually, eventually_sync};

/// How long something that is done before a request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// No limit, for the byte budgets.
const UNLIMITED: i64 = i64::MAX;
const CHUNK_BYTES: usize = 16 * 1024;

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the server: requests.
    Up,
    /// From the server to the client: responses.
    Down,
}

/// What a direction does to the bytes that pass.
#[derive(Clone, Copy, Debug, Default)]
struct Fault {
    /// Bytes wait in the proxy; they go on when this ends, as after a broken route is mended.
    blackhole: bool,
    /// Bytes are read and thrown away: with `Down`, requests take effect and their responses are never seen.
    swallow: bool,
    /// Every chunk waits so long.
    delay: Duration,
    /// Every byte is written on its own.
    split: bool,
    /// All this leaves out connections that replicate.
    spares_replication: bool,
}

/// Does something before these bytes pass.
pub(crate) type Before = Arc<dyn Fn(&[u8]) + Send + Sync>;

#[derive(Clone, Copy, Debug)]
struct Plan {
    up: Fault,
    down: Fault,
    target_port: u16,
    /// New connections are reset at once.
    refuse: bool,
    /// Connections older than the current number are reset.
    generation: u64,
    ended: bool,
}

struct Shared {
    plan: watch::Sender<Plan>,
    /// Bytes that may still pass before everything is cut.
    up_budget: AtomicI64,
    down_budget: AtomicI64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    /// Bytes of requests that came, whether they went on or not.
    up_taken: AtomicU64,
    connections: AtomicU64,
    before_requests: Mutex<Option<Before>>,
}

/// The proxy's handle; dropping it resets all connections and ends it.
pub(crate) struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy to a port on 127.0.0.1.
    pub(crate) fn start(target_port: u16) -> Proxy {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let plan = Plan {
            up: Fault::default(),
            down: Fault::default(),
            target_port,
            refuse: false,
            generation: 0,
            ended: false,
        };
        let shared = Arc::new(Shared {
            plan: watch::Sender::new(plan),
            up_budget: AtomicI64::new(UNLIMITED),
            down_budget: AtomicI64::new(UNLIMITED),
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            up_taken: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            before_requests: Mutex::new(None),
        });
        role::proxied(port, target_port);
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(accept(listener, for_thread));
        });
        Proxy { port, shared, thread: Some(thread) }
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        self.shared.plan.send_modify(change);
    }

    fn fault(&self, direction: Direction, change: impl FnOnce(&mut Fault)) {
        self.change(|plan| match direction {
            Direction::Up => change(&mut plan.up),
            Direction::Down => change(&mut plan.down),
        });
    }

    /// Resets (RST) all open connections; new ones are served.
    pub(crate) fn reset(&self) {
        self.change(|plan| plan.generation += 1);
    }

    /// Resets all connections, and new ones as they come, until `heal`.
    pub(crate) fn refuse(&self) {
        self.change(|plan| {
            plan.refuse = true;
            plan.generation += 1;
        });
    }

    /// Holds the bytes of a direction back until `heal`; connections stay open.
    pub(crate) fn blackhole(&self, direction: Direction) {
        self.fault(direction, |fault| fault.blackhole = true);
    }

    /// The same for PostgreSQL connections that do not replicate: what a query answers is held back, and the stream goes on.
    pub(crate) fn blackhole_queries(&self, direction: Direction) {
        self.fault(direction, |fault| (fault.blackhole, fault.spares_replication) = (true, true));
    }

    /// Does this before each request that passes, until it is told otherwise. Requests wait for it. When this returns, what
    /// was done before has been done for the last time: a test that compares afterwards would else see half of it.
    pub(crate) fn before_requests(&self, before: Option<Before>) {
        let mut place = self.shared.before_requests.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(replaced) = std::mem::replace(&mut *place, before) else { return };
        drop(place);
        eventually_sync(PATIENCE, || match Arc::strong_count(&replaced) {
            1 => Ok(()),
            more => Err(format!("{} requests wait for what is done before them", more - 1)),
        });
    }

    /// Throws the bytes of a direction away until `heal`. With `Down`: requests take effect, responses get lost.
    pub(crate) fn swallow(&self, direction: Direction) {
        self.fault(direction, |fault| fault.swallow = true);
    }

    /// Makes a change of which the request takes effect and the answer is lost. To be ended with `heal` and `reset`.
    ///
    /// What is under way from before is cut: it would be waited for until it is given up, and nothing be sent meanwhile.
    pub(crate) async fn lose_answer(&self, patience: Duration, change: impl FnOnce()) {
        let before = self.bytes(Direction::Up);
        self.swallow(Direction::Down);
        self.reset();
        change();
        eventually(patience, || async {
            if self.bytes(Direction::Up) > before { Ok(()) } else { Err("nothing was sent") }
        })
        .await;
    }

    /// Every chunk of a direction comes so much later, until `heal`.
    pub(crate) fn delay(&self, direction: Direction, delay: Duration) {
        self.fault(direction, |fault| fault.delay = delay);
    }

    /// Every byte of a direction is written on its own, until `heal`.
    pub(crate) fn split(&self, direction: Direction) {
        self.fault(direction, |fault| fault.split = true);
    }

    /// Lets so many more bytes of a direction pass, counted over all connections, then resets everything once.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(UNLIMITED);
        self.shared.budget(direction).store(bytes, Ordering::SeqCst);
    }

    /// Ends every fault; what a blackhole held back goes on.
    pub(crate) fn heal(&self) {
        self.cut_after(Direction::Up, u64::MAX);
        self.cut_after(Direction::Down, u64::MAX);
        self.change(|plan| {
            plan.up = Fault::default();
            plan.down = Fault::default();
            plan.refuse = false;
        });
    }

    /// Sends new connections to another port; with `reset`, this is what a failover looks like.
    pub(crate) fn retarget(&self, target_port: u16) {
        role::proxied(self.port, target_port);
        self.change(|plan| plan.target_port = target_port);
    }

    /// Bytes forwarded so far in a direction.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    /// Bytes of requests that the proxy has and has not forwarded.
    pub(crate) fn held(&self) -> u64 {
        self.shared.up_taken.load(Ordering::SeqCst).saturating_sub(self.bytes(Direction::Up))
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|plan| {
            plan.ended = true;
            plan.generation += 1;
        });
        if let Some(thread) = self.thread.take() {
            let _a_panic_there_was_printed = thread.join();
        }
    }
}

impl Shared {
    fn budget(&self, direction: Direction) -> &AtomicI64 {
        match direction {
            Direction::Up => &self.up_budget,
            Direction::Down => &self.down_budget,
        }
    }

    async fn before_request(&self, bytes: &[u8]) {
        let before = self.before_requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(before) = before {
            let bytes = bytes.to_vec();
            let done = tokio::task::spawn_blocking(move || before(&bytes)).await;
            assert!(done.is_ok(), "what was to be done before a request failed: {done:?}");
        }
    }

    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up_bytes,
            Direction::Down => &self.down_bytes,
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the listener joins the runtime");
    let mut plan = shared.plan.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = plan.wait_for(|plan| plan.ended) => return,
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(client, Arc::clone(&shared)));
            }
        }
    }
}

/// Serves one connection until both sides have closed, or until it is reset.
async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut plan = shared.plan.subscribe();
    let now = *plan.borrow_and_update();
    let target = TcpStream::connect((Ipv4Addr::LOCALHOST, now.target_port)).await;
    let Ok(mut server) = target else { return reset(&client) };
    if now.refuse {
        return reset(&client);
    }
    let _latency_only = (client.set_nodelay(true), server.set_nodelay(true));
    let replicates = AtomicBool::new(false);
    let closed = {
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = server.split();
        let up = pump(client_in, server_out, Direction::Up, &shared, &replicates);
        let down = pump(server_in, client_out, Direction::Down, &shared, &replicates);
        tokio::select! {
            outcome = async { tokio::try_join!(up, down) } => outcome.is_ok(),
            _ = plan.wait_for(|plan| plan.generation > now.generation) => false,
        }
    };
    if !closed {
        reset(&client);
        reset(&server);
    }
}

/// Makes the coming drop send RST in place of FIN.
fn reset(stream: &TcpStream) {
    let _already_gone = stream.set_zero_linger();
}

/// Forwards one direction until its end, which it passes on (half-close).
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    replicates: &AtomicBool,
) -> io::Result<()> {
    let mut plan = shared.plan.subscribe();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        if direction == Direction::Up {
            let bytes = chunk.get(..length).unwrap_or_default();
            // The startup message names the parameter.
            replicates.fetch_or(bytes.windows(12).any(|part| part == b"replication\0"), Ordering::SeqCst);
            shared.up_taken.fetch_add(length as u64, Ordering::SeqCst);
            shared.before_request(bytes).await;
        }
        let fault = passable(&mut plan, direction, replicates).await;
        if length == 0 {
            return to.shutdown().await;
        }
        if fault.swallow {
            continue;
        }
        tokio::time::sleep(fault.delay).await;
        let left = shared.budget(direction);
        let before = if left.load(Ordering::SeqCst) == UNLIMITED {
            UNLIMITED
        } else {
            left.fetch_sub(i64::try_from(length).unwrap_or(UNLIMITED), Ordering::SeqCst)
        };
        let pass = usize::try_from(before).unwrap_or(0).min(length);
        let bytes = chunk.get(..pass).unwrap_or_default();
        write(&mut to, bytes, fault.split).await?;
        shared.counter(direction).fetch_add(pass as u64, Ordering::SeqCst);
        if before != UNLIMITED && pass < length || before == length as i64 {
            left.store(UNLIMITED, Ordering::SeqCst);
            shared.plan.send_modify(|plan| plan.generation += 1);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Waits while the direction is a black hole; what it does to bytes afterwards.
async fn passable(plan: &mut watch::Receiver<Plan>, direction: Direction, replicates: &AtomicBool) -> Fault {
    let fault_of = |plan: &Plan| {
        let fault = match direction {
            Direction::Up => plan.up,
            Direction::Down => plan.down,
        };
        if fault.spares_replication && replicates.load(Ordering::SeqCst) { Fault::default() } else { fault }
    };
    match plan.wait_for(|plan| !fault_of(plan).blackhole).await {
        Ok(plan) => fault_of(&plan),
        Err(_ended) => Fault::default(),
    }
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], split: bool) -> io::Result<()> {
    if !split {
        return to.write_all(bytes).await;
    }
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte)).await?;
        // Gives the reader a chance to see each byte alone.
        tokio::task::yield_now().await;
    }
    Ok(())
}
