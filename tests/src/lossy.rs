//! A network that is far away and loses packets, as it looks to the programs at its ends.
//!
//! Kernels that lose packets themselves (`netem`) are not everywhere. Above TCP, a packet that was lost is one that comes
//! late, and everything behind it with it: its sender sends it again after a while, and after twice as long when that is
//! lost, too (RFC 6298). A relay does the same to what it passes on, a segment's worth at a time, and ends some
//! connections by a reset. What chance does is the same each time, for each connection of a relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Half of the time there and back.
const ONE_WAY: Duration = Duration::from_millis(100);
/// The share of packets that are lost.
const LOST: f64 = 0.05;
/// The share of pieces that end their connection.
const CUT: f64 = 0.01;
/// After so many milliseconds a piece is sent again.
const AGAIN: std::ops::Range<u64> = 200..400;
/// After so long it is tried once more to open a connection.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
const SEGMENT: usize = 1460;
/// Pieces that may be on their way.
const WINDOW: usize = 64;

/// What became of what was passed on.
#[derive(Debug, Default)]
pub struct Passed {
    /// Pieces.
    pub pieces: AtomicUsize,
    /// Those that were lost, each time.
    pub lost: AtomicUsize,
    /// Connections that were cut.
    pub cut: AtomicUsize,
}

/// The near end of such a network.
#[derive(Debug)]
pub struct Lossy {
    /// Where it listens.
    pub port: u16,
    /// What it did so far.
    pub passed: Arc<Passed>,
}

impl Lossy {
    /// Listens on one port of this machine, and passes on to another.
    pub async fn start(port: u16, target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let passed = Arc::new(Passed::default());
        let seen = Arc::clone(&passed);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let (chance, seen) = (StdRng::seed_from_u64(number), Arc::clone(&seen));
                tokio::spawn(async move { between(client, target, chance, &seen).await });
            }
        });
        Self { port, passed }
    }
}

/// One connection to its end.
async fn between(mut client: TcpStream, target: u16, mut chance: StdRng, seen: &Passed) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // The handshake is one time there and back; the first bytes follow it.
    let mut open = Instant::now() + 3 * ONE_WAY;
    if chance.random_bool(LOST) {
        open += OPEN_AGAIN;
    }
    let other = StdRng::from_rng(&mut chance);
    let is_cut = {
        let (asks, told) = client.split();
        let (answers, put) = server.split();
        tokio::select! {
            is_cut = pass(asks, put, open, chance, seen) => is_cut,
            is_cut = pass(answers, told, open, other, seen) => is_cut,
        }
    };
    if is_cut {
        seen.cut.fetch_add(1, Ordering::Relaxed);
        // Closed so, a connection is reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Passes on what comes, later, until there is no more; whether it is cut then.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    open: Instant,
    mut chance: StdRng,
    seen: &Passed,
) -> bool {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(WINDOW);
    let take = async move {
        // Nothing overtakes what was sent before it.
        let mut last = open;
        loop {
            let mut piece = vec![0; SEGMENT];
            let Ok(count @ 1..) = from.read(&mut piece).await else { return false };
            piece.truncate(count);
            seen.pieces.fetch_add(1, Ordering::Relaxed);
            if chance.random_bool(CUT) {
                return true;
            }
            let mut due = Instant::now() + ONE_WAY;
            let mut again = Duration::from_millis(chance.random_range(AGAIN));
            while chance.random_bool(LOST) {
                seen.lost.fetch_add(1, Ordering::Relaxed);
                due += again;
                again *= 2;
            }
            last = last.max(due);
            if queue.send((last, piece)).await.is_err() {
                return false;
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = queued.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(take, give).0
}
