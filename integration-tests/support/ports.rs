//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes the ports of outgoing connections, so that none of those can take a port
/// between our look and the server's bind.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Listens on a loopback port of its own, on the runtime of whoever asks.
pub(crate) fn listen() -> (tokio::net::TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    (tokio::net::TcpListener::from_std(listener).expect("a runtime"), port)
}

/// A loopback port that nobody listens on. Each call gives another one; processes start at different places.
pub(crate) fn free() -> u16 {
    let start = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    unreachable!("no free loopback port between {FIRST} and {}", FIRST + COUNT)
}
